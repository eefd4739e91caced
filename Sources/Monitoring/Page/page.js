const live = document.getElementById("live"), lost = document.getElementById("lost");
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
let ahead = 0, answered = Date.now();
const clock = time => new Date(time).toISOString().slice(11, 19);
function words(seconds) {
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  return units.slice(first, first + 2).map(([size, name], index) => {
    const count = Math.floor((index ? seconds % units[first][0] : seconds) / size);
    return count > 0 ? count + " " + name : "";
  }).filter(Boolean).join(" ");
}
function tick() {
  const now = Date.now() + ahead;
  for (const element of document.querySelectorAll("[data-tick]")) {
    const age = (now - Date.parse(element.dateTime)) / 1000, kind = element.dataset.tick;
    const text = kind === "until" ? (age < 0 ? "in " + words(-age) : "now") : words(age) + (kind === "ago" ? " ago" : "");
    if (element.textContent !== text) element.textContent = text;
  }
}
function synchronize() {
  answered = Date.now();
  ahead = Date.parse(document.getElementById("now").dateTime) - answered;
  tick();
}
function show(text) {
  const content = text.split("<!--live-->")[1];
  if (!content) throw new Error("another page");
  const open = [...document.querySelectorAll("details[open]")].map(details => details.id);
  const focused = document.activeElement?.closest?.("details")?.id;
  live.innerHTML = content;
  for (const id of open) { const details = document.getElementById(id); if (details) details.open = true; }
  if (focused) document.getElementById(focused)?.firstElementChild.focus();
  document.title = text.match(/<title>(.*)<.title>/)[1];
  document.getElementById("icon").href = text.match(/id="icon" href="([^"]*)"/)[1];
}
async function load() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (getSelection().type === "Range" && Date.now() - answered < 60000) return;
    show(text);
    synchronize();
    document.body.className = "";
    lost.hidden = true;
  } catch {
    document.body.className = "lost";
    document.title = document.title.replace(/^[^·]*/, "No answer ");
    const text = "No answer since " + clock(answered + ahead) + " UTC. All below is from then.";
    if (lost.textContent !== text) lost.textContent = text;
    lost.hidden = false;
  }
}
synchronize();
setInterval(tick, 1000);
setInterval(load, 15000);
document.addEventListener("visibilitychange", load);

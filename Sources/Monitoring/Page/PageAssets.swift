/// The page's style and its script.
enum PageAssets {
    /// Text has a contrast of 4.5:1 or more with what it stands on, in both schemes.
    static let style = unindented(
        """
        :root { color-scheme: light dark; --ground: #f4f6f8; --card: #fff; --text: #1c2127; --quiet: #59636e; --line: #d8dee4;
          --good: #1a7f37; --bad: #b42318; --warn: #8a5300; --idle: #59636e; --busy: #0759b0; --bar: #2f81c7; }
        @media (prefers-color-scheme: dark) { :root { --ground: #0f1318; --card: #171d24; --text: #e6eaef; --quiet: #9aa5b1;
          --line: #2d3640; --good: #4cc26d; --bad: #ff8a80; --warn: #eeb04d; --idle: #9aa5b1; --busy: #6cb6ff; --bar: #4a9be0; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--ground); color: var(--text);
          font: 1rem/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
        p { margin: .3rem 0; } a { color: var(--busy); } :focus-visible { outline: 2px solid var(--busy); outline-offset: 2px; }
        .good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .busy { color: var(--busy); }
        .idle { color: var(--idle); } .name, footer, .none, small, .note, figcaption { color: var(--quiet); }
        h1 { font-size: 1.6rem; line-height: 1.25; margin: .1rem 0 1rem; }
        .numbers { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0 0 1rem; } .numbers div { flex: 1 1 9.5rem; }
        @media (min-width: 40rem) { .numbers { display: grid; grid-template-columns: repeat(3, 1fr); }
          .numbers div { grid-row: span 3; display: grid; grid-template-rows: subgrid; row-gap: 0; } }
        .numbers div, .job, #lost, body > div > .problem { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; }
        .numbers dt { color: var(--quiet); font-size: .9rem; }
        .numbers dd { margin: 0; font-size: 2.1rem; font-weight: 650; line-height: 1.2; white-space: nowrap; }
        .numbers .note { font-size: .85rem; font-weight: 400; line-height: 1.4; white-space: normal; }
        .jobs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; align-items: start; }
        .job { border-top: .25rem solid var(--idle); min-width: 0; color: inherit; }
        .job.good { border-top-color: var(--good); } .job.warn { border-top-color: var(--warn); }
        .job.bad { border-top-color: var(--bad); } .job.busy { border-top-color: var(--busy); }
        h2 { font-size: 1.15rem; margin: 0 0 .5rem; } h2 small { font-weight: 400; font-size: .8rem; }
        .facts { display: grid; grid-template-columns: 38% 1fr; margin: 0; }
        .facts dt, .facts dd { margin: 0; padding: .28rem 0; border-bottom: 1px solid var(--line); }
        .facts dt { color: var(--quiet); padding-right: .75rem; font-size: .9rem; line-height: 1.6; }
        [data-tick] { white-space: nowrap; }
        small { font-size: .85rem; }
        .problem { border: 1px solid var(--line); border-left: .25rem solid var(--warn); border-radius: .3rem; padding: .4rem .75rem; margin: .8rem 0; }
        .bad > .problem { border-left-color: var(--bad); } body > div > .problem { margin-bottom: 1rem; border-left: .25rem solid var(--warn); }
        pre, .error { font: .88rem/1.4 ui-monospace, monospace; white-space: pre-wrap; margin: .3rem 0; }
        figure { margin: .8rem 0 .4rem; max-width: 33rem; } figcaption { font-size: .88rem; } svg { display: block; width: 100%; height: auto; font-size: 10.5px; }
        @media (min-width: 30rem) and (max-width: 46.9rem), (min-width: 62rem) { svg { font-size: 8.5px; } }
        svg text { fill: var(--quiet); } .line { stroke: var(--line); stroke-width: 1; }
        .bars { stroke: var(--bar); } .crosses { fill: none; stroke: var(--bad); stroke-width: 2; }
        summary { cursor: pointer; padding: .2rem 0; } .scroll { overflow-x: auto; } footer { font-size: .85rem; margin-top: 1rem; }
        table { border-collapse: collapse; width: 100%; font-size: .85rem; }
        th, td { text-align: right; padding: .25rem .2rem; border-bottom: 1px solid var(--line); font-weight: 400; overflow-wrap: normal; } td { white-space: nowrap; }
        th[scope] { color: var(--quiet); } th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left; }
        #lost { border-left: .35rem solid var(--bad); font-weight: 650; margin: 0 0 1rem; } #lost[hidden] { display: none; }
        .lost #live { opacity: .6; } .lost h1, .lost .numbers .bad { color: inherit; }
        """)

    /// Renews every relative time each second, by the server's clock, and the page's content every 15 seconds; says so while there
    /// is no answer. What is unfolded and what has the focus stays so; text that is being selected stays too, for a minute.
    static let script = unindented(
        """
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
        """)

    private static func unindented(_ text: String) -> String {
        text.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: "\n")
    }
}

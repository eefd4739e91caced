/// What the page looks like, and the little that its script does.
enum PageAssets {
    /// Colors are text or a badge's background, at 4.5:1 or more against what they stand on, in both schemes.
    static let style = """
        :root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --text: #1c2127; --quiet: #59636e; --line: #d8dee4;
          --tone: var(--warn); --good: #1a7f37; --bad: #b42318; --warn: #8a5300; --idle: #59636e; --busy: #0759b0; --on: #fff; }
        @media (prefers-color-scheme: dark) { :root { --ground: #0f1318; --card: #171d24; --text: #e6eaef; --quiet: #9aa5b1;
          --line: #2d3640; --good: #4cc26d; --bad: #ff8a80; --warn: #eeb04d; --idle: #9aa5b1; --busy: #6cb6ff; --on: #0f1318; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; max-width: 60rem; padding: 1.25rem; background: var(--ground); color: var(--text);
          font: 1rem/1.5 system-ui, sans-serif; }
        h1 { font-size: 1.1rem; margin: 0; color: var(--quiet); font-weight: 600; }
        h2 { font-size: 1.05rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
        p { margin: .25rem 0; } a { color: var(--busy); }
        .summary { font-size: 1.5rem; font-weight: 600; line-height: 1.3; margin: .1rem 0 1.1rem; }
        .summary.healthy { color: var(--good); } .summary.failing { color: var(--warn); }
        .summary.overdue { color: var(--bad); }
        .job { background: var(--card); border: 1px solid var(--line); border-left: .35rem solid var(--tone);
          border-radius: .5rem; padding: 1rem; margin: 0 0 1rem; --tone: var(--idle); }
        .job.healthy { --tone: var(--good); } .job.running { --tone: var(--busy); } .job.failing { --tone: var(--warn); }
        .job.overdue { --tone: var(--bad); }
        .badge { background: var(--tone); color: var(--on); border-radius: .3rem; padding: .1rem .5rem; font-size: .85rem;
          margin-right: .4rem; }
        .problem { border: 1px solid var(--tone); border-radius: .4rem; padding: .5rem .75rem; margin-bottom: .75rem;
          overflow-wrap: anywhere; }
        dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .5rem 1.5rem; margin: 0; }
        dt { color: var(--quiet); font-size: .85rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
        small { display: block; color: var(--quiet); font-size: .85rem; }
        pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0; }
        code { font-size: .95em; } .quiet, footer { color: var(--quiet); } footer { font-size: .85rem; }
        svg { display: block; width: 100%; height: 3.5rem; margin: 1rem 0 .5rem; border-bottom: 1px solid var(--line); }
        rect { fill: var(--idle); } .succeeded, .capped { fill: var(--good); }
        .failed, .timed_out, .abandoned { fill: var(--bad); }
        summary { cursor: pointer; } .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
        th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
        th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left; } tbody th { font-weight: 400; }
        tr.failed td:nth-child(2), tr.timed_out td:nth-child(2) { color: var(--bad); }
        """

    /// Counts the fire times down, by the server's clock, and asks again when one has passed.
    static let script = """
        const ahead = Date.parse(document.getElementById("now").dateTime) - Date.now();
        const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
        function words(seconds) {
          const first = Math.max(0, units.findIndex(([size]) => seconds >= size));
          return seconds < 1 ? "0 s" : units.slice(first, first + 2).map(([size, name], index) => {
            const count = Math.floor(index === 0 ? seconds / size : seconds % units[first][0] / size);
            return count > 0 ? count + " " + name : "";
          }).filter(Boolean).join(" ");
        }
        const timer = setInterval(() => {
          if (document.hidden) return;
          for (const element of document.querySelectorAll("[data-until]")) {
            const left = Math.ceil((Date.parse(element.dataset.until) - Date.now() - ahead) / 1000);
            element.textContent = left > 0 ? "in " + words(left) : "now";
            if (left <= -3 && !document.querySelector("details[open]")) { clearInterval(timer); location.reload(); }
          }
        }, 1000);
        """
}

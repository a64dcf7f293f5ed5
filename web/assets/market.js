// The marketplace moves by what robots, payers and the chain do, so its pages are asked for
// again every few seconds and their parts exchanged. A part with a key stays as it is while
// the key does: nothing that somebody is typing is taken away.
"use strict";
(() => {
  const polled = [...document.querySelectorAll("[data-poll]")].map((e) => Number(e.dataset.poll));
  if (!polled.length) return;
  const every = Math.min(...polled) * 1000, known = new Map();
  function selected() {
    const s = getSelection();
    return s && !s.isCollapsed ? s.anchorNode : null;
  }
  async function look() {
    try {
      if (document.hidden) return;
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const now of document.querySelectorAll("[data-part]")) {
        const next = fresh.getElementById(now.id);
        if (!next || now.contains(document.activeElement) || now.contains(selected())) continue;
        if (now.dataset.key !== undefined && now.dataset.key === next.dataset.key) continue;
        const text = next.innerHTML;
        if (known.get(now.id) === text) continue;
        known.set(now.id, text);
        for (const d of next.querySelectorAll("details[id]")) {
          const old = document.getElementById(d.id);
          if (old) d.open = old.open;
        }
        if (next.dataset.key !== undefined) now.dataset.key = next.dataset.key;
        now.replaceChildren(...next.childNodes);
      }
      document.dispatchEvent(new Event("renewed"));
    } catch { /* the node is away: next time */ } finally {
      setTimeout(look, every);
    }
  }
  setTimeout(look, every);
})();

// Watching a run: while it works, the same page is asked for again each second and
// its parts are exchanged. Without this script there is a link to look again.
"use strict";
(() => {
  const pause = 1000;
  async function look() {
    if (!document.querySelector("[data-watch]")) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch { /* the node is away; it is asked again */ }
    }
    setTimeout(look, pause);
  }
  function exchange(fresh) {
    for (const now of document.querySelectorAll("[data-part]")) {
      const next = fresh.getElementById(now.id);
      if (!next || now.innerHTML === next.innerHTML) continue;
      const over = !next.hasAttribute("data-watch");
      // What somebody is using stays, unless it no longer holds.
      if (now.contains(document.activeElement) && !(over && now.hasAttribute("data-watch"))) continue;
      for (const d of next.querySelectorAll("details[id]")) d.open = !!document.getElementById(d.id)?.open;
      now.replaceChildren(...next.childNodes);
      if (over) now.removeAttribute("data-watch");
    }
  }
  setTimeout(look, pause);
})();

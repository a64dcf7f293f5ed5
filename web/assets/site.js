// What the pages do beyond standing there: times where the reader is, parts
// that renew themselves, and the ore that moves as it really moves. Without
// this script every page is whole; only nothing moves.
"use strict";
(() => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const full = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }); // as the server writes
  const count = new Intl.NumberFormat("en");

  function localise(root) {
    for (const t of root.querySelectorAll("time[datetime]:not([data-utc])")) {
      const at = new Date(t.dateTime);
      if (isNaN(at)) continue;
      t.dataset.utc = t.textContent;
      t.title = t.textContent;
      t.textContent = full.format(at);
    }
  }

  function copyButtons() {
    if (!navigator.clipboard) return;
    for (const pre of document.querySelectorAll(".check pre")) {
      const b = document.createElement("button");
      b.type = "button";
      b.className = "copy";
      b.textContent = "Copy";
      b.addEventListener("click", async () => {
        await navigator.clipboard.writeText(pre.textContent.replace(/\\\n\s*/g, "").trim());
        b.textContent = "Copied";
        setTimeout(() => { b.textContent = "Copy"; }, 1500);
      });
      pre.after(b);
    }
  }

  // Renewing: the same page is asked for again and its parts are exchanged, so
  // that the server alone decides how things are written.
  let renewing = false, again = false;
  async function renew() {
    if (document.hidden) { again = true; return; }
    if (renewing) { again = true; return; }
    renewing = true;
    again = false;
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.reload(); return; } // signed out meanwhile
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(fresh);
      for (const now of document.querySelectorAll("[data-part]")) {
        const next = fresh.getElementById(now.id);
        if (!next || now.contains(document.activeElement) || now.contains(selected())) continue;
        for (const d of next.querySelectorAll("details[id]")) d.open = !!document.getElementById(d.id)?.open;
        if (now.innerHTML !== next.innerHTML) now.replaceChildren(...next.childNodes);
      }
    } catch { /* the stream tells whether the node is there */ } finally {
      setTimeout(() => { renewing = false; if (again) renew(); }, Math.max(2000, 10 * (performance.now() - began)));
    }
  }
  function selected() {
    const s = getSelection();
    return s && !s.isCollapsed ? s.anchorNode : null;
  }

  // The way: each event sends a piece from one station to the next.
  const stations = ["st-robots", "st-digger", "st-refinery", "st-mint", "st-vault", "st-wallets"];
  let flying = 0;
  function place(id) {
    const way = document.getElementById("way"), machine = document.querySelector("#" + id + " .machine");
    if (!way || !machine) return null;
    const w = way.getBoundingClientRect(), m = machine.getBoundingClientRect();
    const upright = getComputedStyle(way).gridTemplateColumns.split(" ").length === 1;
    return upright ? { x: -1, y: m.top + m.height / 2 - w.top } : { x: m.left + m.width / 2 - w.left, y: m.bottom - w.top - 1 };
  }
  function send(from, kind, delay = 0) {
    if (calm.matches || document.hidden || flying > 60) return;
    const a = place(stations[from]), b = place(stations[from + 1]);
    if (!a || !b) return;
    const bit = document.createElement("span");
    bit.className = "bit " + kind;
    bit.setAttribute("aria-hidden", "true");
    document.getElementById("way").append(bit);
    flying++;
    const at = (p) => `translate(${p.x}px, ${p.y}px)`;
    bit.animate([{ transform: at(a), opacity: 0 }, { opacity: 1, offset: .12 }, { opacity: 1, offset: .88 }, { transform: at(b), opacity: 0 }],
      { duration: 1300, delay, easing: "cubic-bezier(.45,0,.55,1)", fill: "both" })
      .finished.finally(() => { bit.remove(); flying--; });
  }
  function stir(selector, frames, duration = 900) {
    if (calm.matches || document.hidden) return;
    const part = document.querySelector(selector);
    if (part && part.getAnimations().length === 0) part.animate(frames, { duration, easing: "ease-in-out" });
  }
  const turn = (deg) => [{ transform: "rotate(0)" }, { transform: `rotate(${deg}deg)` }];
  const movers = {
    flow(f) {
      for (let i = 0; i < Math.min(f.reports, 3); i++) send(0, "report", i * 80 + Math.random() * 200);
      if (f.reports) stir("#st-robots .gantry", [{ transform: "none" }, { transform: "translateX(14px)" }, { transform: "translateX(-12px)" }, { transform: "none" }], 1400);
      if (f.orders) stir("#st-wallets .purse", [{ transform: "none" }, { transform: "rotate(-2deg)" }, { transform: "rotate(2deg)" }, { transform: "none" }], 500);
    },
    batch() { send(1, "batch"); stir("#st-digger .wheel", turn(90)); },
    pour() { send(2, "pour"); },
    certificate() { stir("#st-mint .press", [{ transform: "none" }, { transform: "translateY(9px)" }, { transform: "none" }], 700); send(3, "certificate", 350); stir("#st-vault .dial", turn(180), 1500); },
    dividend() { for (let i = 0; i < 4; i++) send(4, "coin", i * 130); stir("#st-wallets .purse", [{ transform: "none" }, { transform: "translateY(-3px)" }, { transform: "none" }], 700); },
  };

  const words = {
    flow: (d) => d.reports === 1
      ? `robot ${d.newest.robot}, report ${count.format(d.newest.seq)}: ${count.format(d.ore)} ore${d.newest.rule ? " (" + d.newest.rule + ")" : ""}`
      : `${count.format(d.reports)} reports of ${d.robots === 1 ? "robot " + d.newest.robot : count.format(d.robots) + " robots"}: ${count.format(d.ore)} ore${d.void ? ", " + count.format(d.void) + " void" : ""}`,
    batch: (d) => `${d.digger} sealed batch ${count.format(d.seq)}: ${count.format(d.reports)} reports, ${count.format(d.ore)} ore`,
    pour: (d) => `${d.refinery} poured ${count.format(d.ingots)} ingots from ${count.format(d.first_ingot)} on`,
    certificate: (d) => `certificate ${count.format(d.serial)} signed: one RoboTorq`,
    dividend: (d) => `dividend: ${count.format(d.per_member_jt)} JT to each of ${count.format(d.members)} members`,
    refusal: (d) => `${d.station} ${d.void ? "voided" : "refused"}${d.robot ? " a report of " + d.robot : ""}: ${d.rule}`,
    notice: (d) => `${d.subject} ${d.id}: ${d.event}`,
  };
  const longest = 60;
  function tick(kind, time, data) {
    const list = document.getElementById("ticker");
    if (!list || !words[kind] || kind === "flow" && !data.reports || list.matches(":hover, :focus")) return;
    const line = document.createElement("p"), t = document.createElement("time"), s = document.createElement("span");
    t.dateTime = new Date(time).toISOString();
    t.textContent = clock.format(time);
    s.textContent = words[kind](data);
    s.className = "k-" + kind;
    line.append(t, s);
    list.prepend(line);
    while (list.children.length > longest) list.lastChild.remove();
  }

  // For those who hear the page: what happened, in one sentence, every half minute at
  // most. The ticker itself is silent.
  const heard = { reports: 0, ore: 0, certificate: 0, dividend: 0, refusal: 0 };
  function hear(kind, data) {
    if (kind === "flow") { heard.reports += data.reports; heard.ore += data.ore; } else if (kind in heard) heard[kind]++;
  }
  function tell() {
    const calmly = document.getElementById("calm");
    if (!calmly || document.hidden) return;
    const many = (n, one, more) => `${count.format(n)} ${n === 1 ? one : more}`;
    const parts = [];
    if (heard.reports) parts.push(many(heard.reports, "report", "reports") + " with " + count.format(heard.ore) + " ore");
    if (heard.certificate) parts.push(many(heard.certificate, "certificate", "certificates"));
    if (heard.dividend) parts.push(many(heard.dividend, "dividend", "dividends"));
    if (heard.refusal) parts.push(many(heard.refusal, "refusal", "refusals"));
    if (parts.length) calmly.textContent = "Since the last word: " + parts.join(", ") + ".";
    for (const k of Object.keys(heard)) heard[k] = 0;
  }

  let patience = 2000;
  function connect() {
    const lamp = document.getElementById("line");
    const show = (on) => {
      if (!lamp) return;
      lamp.hidden = false;
      lamp.className = "line " + (on ? "on" : "off");
      lamp.textContent = on ? "live" : "waiting for the node";
    };
    const moving = document.getElementById("way");
    const kinds = moving ? ["overview", "reset", ...Object.keys(movers), "refusal", "notice"] : ["overview", "reset"];
    const source = new EventSource(document.body.dataset.live || "/api/v1/events?kinds=" + kinds.join(","));
    let known = "";
    source.addEventListener("open", () => { show(true); patience = 2000; });
    source.addEventListener("error", () => {
      show(false);
      if (source.readyState !== EventSource.CLOSED) return; // it tries again itself
      setTimeout(() => { renew(); connect(); }, patience);
      patience = Math.min(patience * 2, 60000);
    });
    source.addEventListener("reset", renew);
    source.addEventListener("overview", (e) => {
      const now = JSON.stringify(JSON.parse(e.data).data, (k, v) => (k === "now_ms" || k === "rates" ? undefined : v));
      if (known !== now && known !== "" || moving) renew();
      known = now;
    });
    if (!moving) return;
    document.querySelector(".ticker").hidden = false;
    for (const kind of new Set([...Object.keys(movers), "refusal", "notice"])) {
      source.addEventListener(kind, (e) => {
        const { time_ms: time, data } = JSON.parse(e.data);
        movers[kind]?.(data);
        tick(kind, time, data);
        hear(kind, data);
      });
    }
  }

  localise(document);
  copyButtons();
  document.addEventListener("renewed", () => localise(document)); // by the script of a page
  if ("live" in document.body.dataset) {
    connect();
    setInterval(tell, 30000);
    addEventListener("visibilitychange", () => { if (!document.hidden && again) renew(); });
  }
})();

// Keeps the page as it would be if it were read now, and shows answers without leaving it. Everything works
// without this file, too: links lead to pages, and forms to answers.
"use strict";
(() => {
  const root = document.documentElement;
  const said = document.getElementById("live");
  const pause = document.getElementById("pause");
  const here = root.dataset.here;
  const BETWEEN_MS = 2000;
  const FOCUSED = "a, button, input, select, textarea, summary, [tabindex]";
  let events = null, wanted = false, busy = false, timer = null, last = 0;

  const say = (words) => { if (said.textContent !== words) said.textContent = words; };

  // Put the new content in the place of the old, and the focus where it was.
  const swap = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const all = focused ? [...old.querySelectorAll(FOCUSED)] : [];
    const at = all.indexOf(focused);
    const href = focused && focused.getAttribute("href");
    old.replaceChildren(...fresh.childNodes);
    if (!focused) return;
    const now = [...old.querySelectorAll(FOCUSED)];
    const same = href ? now.find((each) => each.getAttribute("href") === href) : null;
    (same || now[Math.min(at, now.length - 1)] || document.getElementById("main")).focus({ preventScroll: true });
  };

  const parse = (text) => new DOMParser().parseFromString(text, "text/html");

  const refresh = async () => {
    timer = null;
    if (busy || document.hidden) { wanted = true; return; }
    busy = true; wanted = false; last = Date.now();
    try {
      const answer = await fetch(here, { cache: "no-store", redirect: "error" });
      const page = parse(await answer.text());
      if (!answer.ok) { say(`can't refresh: ${page.title}`); return; }
      for (const fresh of page.querySelectorAll("[data-live]")) {
        const old = document.getElementById(fresh.id);
        if (old) swap(old, document.adoptNode(fresh));
      }
      root.dataset.version = page.documentElement.dataset.version;
      say("Live");
    } catch { say("can't refresh; trying again"); wanted = true; } finally {
      busy = false;
      if (wanted) plan();
    }
  };

  const plan = () => {
    wanted = true;
    if (timer === null && !document.hidden) timer = setTimeout(refresh, Math.max(0, last + BETWEEN_MS - Date.now()));
  };

  const follow = () => {
    events = new EventSource(`/ui/events?seen=${encodeURIComponent(root.dataset.version)}`);
    events.addEventListener("open", () => say("Live"));
    events.addEventListener("change", plan);
    events.addEventListener("error", () => {
      if (events && events.readyState === EventSource.CLOSED) { say("Not live; trying again"); setTimeout(again, 15000); }
      else say("Connection lost; trying again");
    });
  };
  const stop = () => { if (events) events.close(); events = null; };
  const again = () => { stop(); if (pause.getAttribute("aria-pressed") === "false" && !document.hidden) follow(); };

  if (here && root.dataset.version && document.querySelector("[data-live]")) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      const paused = pause.getAttribute("aria-pressed") === "false";
      pause.setAttribute("aria-pressed", String(paused));
      if (paused) { stop(); say("Paused"); } else { again(); plan(); }
    });
    // A tab that nobody looks at holds no stream.
    document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else again(); });
    window.addEventListener("pagehide", stop);
    if (!document.hidden) follow();
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-try]")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    const shown = document.getElementById("answer");
    button.disabled = true;
    try {
      const fields = new URLSearchParams(new FormData(form));
      const answer = await fetch(form.action, { method: "POST", body: fields, cache: "no-store", redirect: "error" });
      const page = parse(await answer.text());
      const fresh = page.getElementById("answer");
      if (!fresh) { shown.textContent = page.title; return; }
      const token = page.querySelector("[data-try] input[type=hidden]");
      if (token) for (const each of document.querySelectorAll("[data-try] input[type=hidden]")) each.value = token.value;
      shown.replaceChildren(...document.adoptNode(fresh).childNodes);
    } catch { shown.textContent = "No answer: the page's server can't be reached."; } finally {
      button.disabled = false;
      shown.scrollIntoView({ block: "nearest" });
    }
  });
})();

/* Shows changes on a page without a reload: asks every second whether there are any, then loads the page once more and
   brings what differs into the one that is shown. What somebody has selected, focused or begun is left alone until they
   are done. Without this script the page stays as it was loaded. */
"use strict";
{
  const EVERY = 1000;
  const LONGEST = 60_000;
  const AFTER_SUBMIT = 5000; // a form may answer with a file, and the page stays
  const SHARE = 4; // a page that takes long to make is asked for less often
  const MARGIN = 10_000; // what was written before the page was made can have been committed after it
  const MARKED = 2000;
  const ROWS = "#result_list tbody";
  const SKIPPED = ".polar-copy, .actions, script, input[type=hidden]";
  const MARKS = "tr, li, .polar-facts > div, .fieldBox, .form-row, .polar-headline";
  const QUIET = "[data-quiet], .field-observed"; // when Polar was last asked is no change of a customer
  const OWN_ATTRIBUTES = new Set(["class", "data-label", "open"]); // that page.js and people change
  const OWN_CLASSES = new Set(["polar-rows", "polar-changed", "selected"]);
  const data = document.currentScript.dataset;

  let version = null;
  let tag = "";
  let held = null; // a newer page of which something could not be shown yet
  let pause = EVERY;
  let timer = 0;
  let isLooking = false;
  let isOver = false;
  let stop = new AbortController();

  const mark = (node) => {
    const element = node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
    if (!element || element.closest(QUIET)) {
      return;
    }
    const place = element.closest(MARKS);
    if (place) {
      place.classList.add("polar-changed");
      setTimeout(() => place.classList.remove("polar-changed"), MARKED);
    }
  };

  const isTouched = (node) => {
    const selection = document.getSelection();
    return (
      (node.contains(document.activeElement) && document.activeElement !== document.body) ||
      (selection !== null && !selection.isCollapsed && selection.containsNode(node, true)) ||
      (node.nodeType === Node.ELEMENT_NODE && node.querySelector("input:checked") !== null)
    );
  };

  const isChoosing = () =>
    document.querySelector("#result_list .action-select:checked") !== null ||
    [...document.querySelectorAll(".actions select")].some((select) => select.value !== "");

  const isSkipped = (node) =>
    node.nodeType === Node.ELEMENT_NODE ? node.matches(SKIPPED) : node.nodeType !== Node.TEXT_NODE;

  const listNodes = (parent) => [...parent.childNodes].filter((node) => !isSkipped(node));

  const getKey = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      return "";
    }
    const row = node.localName === "tr" ? node.querySelector(".action-select")?.value ?? node.querySelector("th a")?.href : "";
    return `${node.localName} ${node.dataset.key ?? row ?? ""} ${node.id}`;
  };

  const pair = (before, after) => {
    const known = new Map();
    for (const node of before) {
      const key = getKey(node);
      known.set(key, [...(known.get(key) ?? []), node]);
    }
    return after.map((node) => [known.get(getKey(node))?.shift(), node]);
  };

  const describe = (element) => {
    const names = element.getAttributeNames().filter((name) => !OWN_ATTRIBUTES.has(name)).sort();
    const classes = [...element.classList].filter((name) => !OWN_CLASSES.has(name));
    return JSON.stringify([element.localName, classes, names.map((name) => [name, element.getAttribute(name)])]);
  };

  const add = (fresh, put) => {
    const made = document.importNode(fresh, true);
    put(made);
    if (made.nodeType === Node.ELEMENT_NODE) {
      made.dispatchEvent(new Event("polar:added", { bubbles: true }));
    }
    mark(made);
  };

  /* Make a node as the fresh one is. False where something of it has to wait. */
  const update = (old, fresh) => {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) {
        if (isTouched(old)) {
          return false;
        }
        old.data = fresh.data;
        mark(old);
      }
      return true;
    }
    if (describe(old) !== describe(fresh)) {
      if (isTouched(old)) {
        return false;
      }
      add(fresh, (made) => old.replaceWith(made));
      return true;
    }
    if (old.localName === "time") {
      old.textContent = fresh.textContent; // "5 minutes ago" grows older without a change
      return true;
    }
    return updateChildren(old, fresh);
  };

  const updateChildren = (old, fresh) => {
    const before = listNodes(old);
    const pairs = pair(before, listNodes(fresh));
    let isDone = true;
    if (old.matches(ROWS) && isChoosing()) {
      const kept = pairs.filter(([same]) => same);
      for (const [same, node] of kept) {
        isDone = update(same, node) && isDone;
      }
      return isDone && kept.length === pairs.length && kept.every(([same], place) => same === before[place]);
    }
    const found = new Set(pairs.map(([same]) => same));
    const staying = new Set();
    for (const node of before.filter((node) => !found.has(node))) {
      if (isTouched(node)) {
        staying.add(node);
      } else {
        node.remove();
      }
    }
    isDone = staying.size === 0;
    let place = old.firstChild;
    for (const [same, node] of pairs) {
      while (place && (isSkipped(place) || staying.has(place))) {
        place = place.nextSibling;
      }
      if (!same) {
        const next = place;
        add(node, (made) => old.insertBefore(made, next));
      } else if (same === place) {
        place = place.nextSibling;
        isDone = update(same, node) && isDone;
      } else if (isTouched(same)) {
        isDone = false;
      } else {
        old.insertBefore(same, place);
        isDone = update(same, node) && isDone;
      }
    }
    return isDone;
  };

  /* Django's script for actions knows the boxes that it was given, and how many rows there are. */
  const announceBoxes = (page) => {
    const [old, fresh] = [document, page].map((place) => place.querySelector(".action-counter"));
    if (old && fresh) {
      old.dataset.actionsIcnt = fresh.dataset.actionsIcnt;
    }
    const boxes = document.querySelectorAll("tr input.action-select");
    if (boxes.length && typeof window.Actions === "function") {
      window.Actions(boxes);
    }
  };

  const listBoxes = () => [...document.querySelectorAll("tr input.action-select")];

  const show = (page) => {
    const before = new Set(listBoxes());
    let isDone = true;
    for (const root of data.roots.split(",")) {
      const [old, fresh] = [document, page].map((place) => place.querySelector(root));
      if (old && fresh) {
        isDone = updateChildren(old, fresh) && isDone;
      }
    }
    if (listBoxes().some((box) => !before.has(box))) {
      announceBoxes(page);
    }
    return isDone;
  };

  const request = async (url, headers) => {
    const answer = await fetch(url, {
      cache: "no-store", credentials: "same-origin", headers, redirect: "error", signal: stop.signal,
    });
    isOver = answer.status === 403 || answer.status === 404;
    if (!answer.ok && answer.status !== 304) {
      throw new Error(String(answer.status));
    }
    return answer;
  };

  const load = async () => {
    const answer = await request(window.location.href, { "X-Polar-Changes": "1" });
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };

  const look = async () => {
    const answer = await request(data.url, tag ? { "If-None-Match": tag } : {});
    if (answer.status === 304) {
      return EVERY;
    }
    const found = await answer.json();
    const isNews = version === null ? found.newest >= Number(data.since) - MARGIN : found.version !== version;
    let next = EVERY;
    if (isNews) {
      const began = performance.now();
      const page = await load();
      next = Math.min(Math.max(EVERY, SHARE * (performance.now() - began)), LONGEST);
      held = show(page) ? null : page;
    }
    version = found.version;
    tag = answer.headers.get("ETag") ?? "";
    return next;
  };

  const plan = (milliseconds) => {
    clearTimeout(timer);
    timer = setTimeout(run, milliseconds);
  };

  const run = async () => {
    if (document.hidden || isLooking || isOver) {
      return;
    }
    isLooking = true;
    const { signal } = stop;
    try {
      if (held && show(held)) {
        held = null;
      }
      pause = await look();
    } catch {
      pause = Math.min(pause * 2, LONGEST);
    }
    isLooking = false;
    plan(signal.aborted ? AFTER_SUBMIT : pause);
  };

  const rest = () => {
    stop.abort();
    stop = new AbortController();
    plan(AFTER_SUBMIT);
  };

  document.addEventListener("submit", rest);
  window.addEventListener("pagehide", rest);
  document.addEventListener("visibilitychange", () => plan(0));
  plan(EVERY);
}

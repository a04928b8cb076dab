/* Keeps the page of a run as it is on the server, without a reload, until the run has ended. */
"use strict";
{
  const EVERY = 2000;
  const AFTER_END = 60; // further looks after the end: failed customers that are retried come in then
  const root = document.getElementById("polar-live");
  const lost = document.getElementById("polar-lost");
  const last = {};
  let left = AFTER_END;

  const show = (parts) => {
    for (const [name, markup] of Object.entries(parts)) {
      const place = document.querySelector(`[data-part="${name}"]`);
      // What has not changed stays, with the focus that may be in it.
      if (place && last[name] !== undefined && last[name] !== markup) {
        place.innerHTML = markup;
      } else if (place && last[name] === undefined && place.innerHTML !== markup) {
        place.innerHTML = markup;
      }
      last[name] = markup;
    }
  };

  const look = async () => {
    if (document.hidden) {
      setTimeout(look, EVERY);
      return;
    }
    let isRunning = true;
    try {
      const answer = await fetch(root.dataset.url, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      const found = await answer.json();
      isRunning = found.is_running;
      show(found.parts);
      lost.hidden = true;
    } catch {
      lost.textContent = root.dataset.lost;
      lost.hidden = false;
    }
    if (!isRunning) {
      left -= 1;
    }
    if (left > 0) {
      setTimeout(look, EVERY);
    }
  };

  if (root && "live" in root.dataset) {
    setTimeout(look, EVERY / 2);
  }
}

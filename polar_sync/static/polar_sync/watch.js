/* Waits on a customer's page for the answer of a refresh, then shows the page anew. */
"use strict";
{
  const EVERY = 1000;
  const PATIENCE = 60;
  const note = document.getElementById("polar-watch");
  let looks = 0;

  const look = async () => {
    looks += 1;
    try {
      const answer = await fetch(note.dataset.url, { credentials: "same-origin", redirect: "error" });
      const found = await answer.json();
      if (found.version !== note.dataset.version) {
        const page = new URL(window.location.href);
        page.searchParams.delete("since");
        window.location.replace(page.pathname + page.search);
        return;
      }
    } catch {
      // The next look may succeed; when none does, the note below says what to do.
    }
    if (looks === PATIENCE) {
      note.textContent = note.dataset.late;
    } else {
      setTimeout(look, EVERY);
    }
  };

  if (note) {
    setTimeout(look, EVERY / 2);
  }
}

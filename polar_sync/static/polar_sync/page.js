/* Buttons that copy ids, menus that close by themselves, and headings for the cells of lists that a phone shows as
   cards. Without it everything is there: an id is selected whole by a click. */
"use strict";
{
  const words = document.currentScript.dataset;
  const SHOWN = 1500;

  const copy = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // Where the page has no right to the clipboard, as on a site without TLS.
      window.getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
  };

  const addCopyButton = (code) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "polar-copy";
    button.title = words.copy;
    button.setAttribute("aria-label", `${words.copy}: ${code.textContent}`);
    button.addEventListener("click", async () => {
      await copy(code);
      button.classList.add("polar-copied");
      button.setAttribute("aria-label", words.copied);
      button.title = words.copied;
      setTimeout(() => {
        button.classList.remove("polar-copied");
        button.setAttribute("aria-label", `${words.copy}: ${code.textContent}`);
        button.title = words.copy;
      }, SHOWN);
    });
    code.after(button);
  };

  const labelCells = (table) => {
    const labels = [...table.querySelectorAll("thead th")].map((head) => (head.querySelector(".text") ?? head).textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.children].forEach((cell, place) => {
        cell.dataset.label = labels[place];
      });
    }
    table.classList.add("polar-rows");
  };

  const prepare = (place) => {
    for (const code of place.querySelectorAll(".polar-id")) {
      addCopyButton(code);
    }
    for (const table of place.querySelectorAll("#result_list")) {
      labelCells(table);
    }
  };
  prepare(document);

  // What another script has brought into the page since.
  document.addEventListener("polar:added", ({ target }) => {
    prepare(target);
    if (target.matches(".polar-id")) {
      addCopyButton(target);
    }
    const table = target.closest("#result_list");
    if (table) {
      labelCells(table);
    }
  });

  const closeMenus = (kept) => {
    for (const menu of document.querySelectorAll(".polar-menu[open]")) {
      if (menu !== kept) {
        menu.open = false;
      }
    }
  };
  document.addEventListener("click", (event) => closeMenus(event.target.closest(".polar-menu")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector(".polar-menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

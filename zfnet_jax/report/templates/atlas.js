"use strict";

(() => {
  const root = new URL(".", document.currentScript.src);
  const SHOWN = 50;

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // The arrows follow the page's own links.

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A box just closed keeps the focus for a moment.
    if (event.target.closest("dialog[open]")) return;
    if (event.key === "/") {
      event.preventDefault();
      search("");
    } else if (!event.shiftKey && !event.target.closest("fieldset, .scroll")) {
      // Up scrolls a page that is scrolled; only then does it leave.
      if (event.key === "ArrowUp" && (event.repeat || scrollY > 0)) return;
      const links = [...document.querySelectorAll("a[data-key]")];
      links.find((link) => link.dataset.key === event.key)?.click();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-search]");
    if (button) search(button.dataset.search);
  });

  // A tile of one mosaic is marked in the others and among the whole pictures.

  const mosaics = [...document.querySelectorAll(".pair .mosaic")];
  const wholes = [...document.querySelectorAll(".wholes li")];

  const mark = (place) => {
    document.querySelectorAll(".mark").forEach((element) => element.remove());
    wholes.forEach((whole, each) => whole.classList.toggle("lit", each === place));
    if (!(place in wholes)) return;
    for (const mosaic of mosaics) {
      const [side, rows] = grid(mosaic);
      const element = make("i", { class: "mark" });
      Object.assign(element.style, {
        left: `${(100 * (place % side)) / side}%`,
        top: `${(100 * Math.floor(place / side)) / rows}%`,
        width: `${100 / side}%`,
        height: `${100 / rows}%`,
      });
      mosaic.append(element);
    }
  };

  const grid = (mosaic) => {
    const style = getComputedStyle(mosaic);
    return ["--side", "--rows"].map((name) => Number(style.getPropertyValue(name)));
  };

  for (const mosaic of mosaics) {
    mosaic.addEventListener("pointermove", (event) => {
      const [side, rows] = grid(mosaic);
      const area = mosaic.getBoundingClientRect();
      const col = Math.floor((side * (event.clientX - area.left)) / area.width);
      const row = Math.floor((rows * (event.clientY - area.top)) / area.height);
      mark(side * row + col);
    });
    mosaic.addEventListener("pointerleave", () => mark(-1));
  }
  wholes.forEach((whole, place) => {
    whole.addEventListener("pointerenter", () => mark(place));
    whole.addEventListener("pointerleave", () => mark(-1));
  });

  // Search. Its data comes as a script: a page from a file may not fetch.

  let loading;
  const load = () => {
    loading ??= new Promise((resolve, reject) => {
      const script = make("script", { src: new URL("search.js", root) });
      script.onload = () => resolve(window.atlasSearch);
      script.onerror = reject;
      document.head.append(script);
    });
    return loading;
  };

  // Units by number first, then layers, then what a class excites, its strongest share first.
  const find = ({ labels, layers, units }, text) => {
    const query = text.trim().toLowerCase();
    if (!query) return [];
    const found = [];
    const number = query.match(/^(.*?)[\s/]*0*(\d+)$/);
    if (number) {
      const [, layer, digits] = number;
      const same = ([place]) => !layer || layers[place][0].toLowerCase() === layer;
      const fit = units.filter((unit) => same(unit) && String(unit[1]).startsWith(digits));
      fit.sort((one, other) => (String(other[1]) === digits) - (String(one[1]) === digits));
      for (const unit of fit) found.push({ unit, text: "" });
    }
    for (const [name, page, maps] of layers) {
      if (name.toLowerCase().startsWith(query)) found.push({ name, page, text: `${maps} maps` });
    }
    const exact = (label) => label.toLowerCase() === query;
    const named = labels.map((label) => label.toLowerCase().includes(query));
    const classes = [];
    for (const unit of units) {
      const [place, , title, , , images, counts] = unit;
      const titled = title !== null && title.toLowerCase().includes(query);
      let best = titled ? { share: 0, exact: exact(title), text: "" } : null;
      for (let each = 0; each < counts.length; each += 2) {
        const [label, count] = [labels[counts[each]], counts[each + 1]];
        if (!named[counts[each]]) continue;
        const hit = { share: count / images, exact: exact(label), text: `${label} ${count}/${images}` };
        if (!best || (hit.exact - best.exact || hit.share - best.share) > 0) best = hit;
      }
      if (best) classes.push({ unit, titled, place, ...best });
    }
    classes.sort(
      (one, other) =>
        other.exact - one.exact ||
        other.share - one.share ||
        other.titled - one.titled ||
        other.place - one.place,
    );
    return [...found, ...classes];
  };

  let box;
  const search = (text) => {
    box ??= makeBox();
    box.open(text);
  };

  const makeBox = () => {
    const input = make("input", {
      type: "text",
      placeholder: "A class, or a unit such as conv5 12",
      "aria-label": "Search by class or unit",
      role: "combobox",
      "aria-expanded": "true",
      "aria-controls": "results",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
    });
    const status = make("p", { role: "status" });
    const list = make("div", { id: "results", class: "results", role: "listbox", "aria-label": "Results" });
    const dialog = make("dialog", { "aria-label": "Search" }, input, status, list);
    document.body.append(dialog);
    let chosen = 0;

    const choose = (place) => {
      const { length } = list.children;
      chosen = length ? (place + length) % length : 0;
      [...list.children].forEach((option, each) => option.setAttribute("aria-selected", each === chosen));
      list.children[chosen]?.scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", list.children[chosen]?.id ?? "");
    };

    const option = (data, { unit, name, page, text }, place) => {
      const [layer, map, title, unitPage, mosaic] = unit ?? [];
      const line = unit ? `${data.layers[layer][0]} ${map}${title === null ? "" : ` ${title}`}` : name;
      const link = make(
        "a",
        { href: new URL(unitPage ?? page, root), role: "option", id: `result-${place}`, tabindex: -1 },
        make("b", {}, line),
        make("span", {}, unit && !mosaic ? "dead" : text),
      );
      const tiles = mosaic && make("img", { src: new URL(mosaic, root), alt: "", loading: "lazy", width: 132, height: 132 });
      link.prepend(make("i", {}, ...(tiles ? [tiles] : [])));
      return link;
    };

    const update = async () => {
      const text = input.value;
      let data;
      try {
        data = await load();
      } catch {
        status.textContent = "search.js could not be read";
        return;
      }
      if (text !== input.value) return;
      const found = find(data, text);
      list.replaceChildren(...found.slice(0, SHOWN).map((hit, place) => option(data, hit, place)));
      const more = found.length > SHOWN ? `, the first ${SHOWN} are shown` : "";
      status.textContent = text.trim() ? `${found.length || "nothing"} found${more}` : "";
      choose(0);
    };

    input.addEventListener("input", update);
    input.addEventListener("keydown", async (event) => {
      if (event.isComposing) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        choose(chosen + step);
      } else if (event.key === "Enter") {
        if (!loading || !list.children.length) await update();
        list.children[chosen]?.click();
      }
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("a")) dialog.close();
    });
    return {
      open(text) {
        dialog.showModal();
        input.value = text;
        input.focus();
        update();
      },
    };
  };
})();

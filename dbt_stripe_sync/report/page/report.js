"use strict";
(() => {
  // A row: [sync, key, action, status, Stripe id, request id, attempts, ms since the start, [fields], cause, detail,
  // [amount, its number]].
  const [SYNC, KEY, ACTION, STATUS, ID, REQUEST, ATTEMPTS, TIME, FIELDS, CAUSE, DETAIL, AMOUNT] = Array(12).keys();
  const OVERSCAN = 8;
  const MOST_PRINTED = 500;
  const $ = (id) => document.getElementById(id);
  const facts = JSON.parse($("facts").textContent);
  const data = JSON.parse($("data").textContent);
  const collator = new Intl.Collator("en", { numeric: true });
  const figures = new Intl.NumberFormat("en");
  const fieldsOf = (row) => row[FIELDS].map((n) => facts.fields[n]).join(", ");
  const rank = (row) => facts.ranks[row[STATUS]];
  const wordOf = (row) => facts.words[row[STATUS]];
  const amountOf = (row) => (row[AMOUNT] ? row[AMOUNT][0] : "");
  // The dashboard's own page of an object, or its search for the id.
  const addressOf = (row) => {
    const page = facts.pages[row[SYNC]];
    return `${facts.dashboard}/${page ? `${page}/${encodeURIComponent(row[ID])}` : `search?query=${encodeURIComponent(row[ID])}`}`;
  };
  // Each column: its name, what it is sorted by, and its text.
  const COLUMNS = [
    ["Result", rank, wordOf],
    ["Sync", (row) => row[SYNC], (row) => facts.syncs[row[SYNC]]],
    ["Key", (row) => row[KEY], (row) => row[KEY]],
    ["Change", (row) => row[ACTION], (row) => facts.actions[row[ACTION]]],
    ["Fields", fieldsOf, fieldsOf],
    ...(facts.has_amounts ? [["Amount", (row) => (row[AMOUNT] ? row[AMOUNT][1] : -Infinity), (row) => amountOf(row) || "—"]] : []),
    ["Object", (row) => row[ID] || "", (row) => row[ID] || "—"],
  ];
  const filter = { words: [], statuses: new Set(), sync: -1, action: -1, cause: -1 };
  const sort = { column: -1, down: false };
  const hay = new Array(data.length);
  // What somebody has to look at comes first, then everything in the order in which it ended.
  const order = data.map((_, index) => index).sort((a, b) => rank(data[a]) - rank(data[b]) || a - b);
  let shown = order;
  let current = 0;
  let opened = -1;

  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  // A text whose parts in backticks are shown as code.
  const prose = (text, name) => {
    const element = make("p", null, name);
    const parts = text.split("`");
    if (parts.length % 2 === 0) element.textContent = text;
    else parts.forEach((part, index) => element.append(index % 2 ? make("code", part) : part));
    return element;
  };
  const haystack = (index) => {
    const row = data[index];
    return (hay[index] ??= [row[KEY], row[ID], row[REQUEST], fieldsOf(row), facts.syncs[row[SYNC]], amountOf(row)].join("\n").toLowerCase());
  };
  const fits = (index) => {
    const row = data[index];
    return (!filter.statuses.size || filter.statuses.has(row[STATUS])) && (filter.sync < 0 || filter.sync === row[SYNC])
      && (filter.action < 0 || filter.action === row[ACTION]) && (filter.cause < 0 || filter.cause === row[CAUSE])
      && filter.words.every((word) => haystack(index).includes(word));
  };

  const refresh = () => {
    shown = [];
    for (const index of order) if (fits(index)) shown.push(index);
    if (sort.column >= 0) {
      const value = COLUMNS[sort.column][1];
      const sign = sort.down ? -1 : 1;
      const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
      // Each value is read once, not once a comparison.
      const keyed = shown.map((index) => [value(data[index]), index]);
      keyed.sort((a, b) => sign * compare(a[0], b[0]) || rank(data[a[1]]) - rank(data[b[1]]) || a[1] - b[1]);
      shown = keyed.map((pair) => pair[1]);
    }
    current = 0;
    const isFiltered = filter.words.length || filter.statuses.size || filter.sync >= 0 || filter.action >= 0 || filter.cause >= 0;
    $("all").hidden = !isFiltered;
    $("csv").disabled = !shown.length;
    const all = `${figures.format(data.length)} ${data.length === 1 ? "entry" : "entries"}`;
    $("count").textContent = isFiltered ? `${figures.format(shown.length)} of ${all}` : all;
    $("rows").scrollTop = 0;
    draw();
  };

  const outside = (text, address) => {
    const link = make("a", text);
    link.href = address;
    link.rel = "noreferrer noopener";
    link.target = "_blank";
    link.tabIndex = -1;
    return link;
  };
  const objectLink = (row) => outside(row[ID], addressOf(row));
  const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 40;
  const rowElement = (position, height) => {
    const row = data[shown[position]];
    const element = make("div", null, position === current ? "row current" : "row");
    element.setAttribute("role", "row");
    element.setAttribute("aria-rowindex", position + 2);
    element.id = `row-${position}`;
    element.dataset.position = position;
    element.style.top = `${position * height}px`;
    COLUMNS.forEach(([name, , text], column) => {
      const cell = make("span", name === "Object" && row[ID] ? null : text(row), `c-${name.toLowerCase()}`);
      if (name === "Object" && row[ID]) cell.append(objectLink(row));
      if (!column) cell.classList.add(`s-${facts.statuses[row[STATUS]]}`);
      cell.setAttribute("role", "gridcell");
      element.append(cell);
    });
    return element;
  };
  const draw = () => {
    const box = $("rows");
    const height = rowHeight();
    $("filler").style.height = `${shown.length * height}px`;
    const first = Math.max(0, Math.floor(box.scrollTop / height) - OVERSCAN);
    const last = Math.min(shown.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + OVERSCAN);
    const rows = [];
    for (let position = first; position < last; position++) rows.push(rowElement(position, height));
    if (!shown.length) rows.push(make("p", data.length ? "No entry fits." : "Nothing had to change.", "empty"));
    box.replaceChildren($("filler"), ...rows);
    box.style.height = shown.length && shown.length * height < 560 ? `${shown.length * height}px` : "";
    if (shown.length) $("grid").setAttribute("aria-activedescendant", `row-${current}`);
    else $("grid").removeAttribute("aria-activedescendant");
    // The head stands above the scroll bar, so that its columns are as wide as those below.
    document.querySelector(".row.head").style.paddingRight = `calc(1rem + ${box.offsetWidth - box.clientWidth}px)`;
    $("grid").setAttribute("aria-rowcount", shown.length + 1);
  };
  const moveTo = (position) => {
    if (!shown.length) return;
    current = Math.max(0, Math.min(shown.length - 1, position));
    const box = $("rows");
    const height = rowHeight();
    if (current * height < box.scrollTop) box.scrollTop = current * height;
    else if ((current + 1) * height > box.scrollTop + box.clientHeight) box.scrollTop = (current + 1) * height - box.clientHeight;
    draw();
  };

  const fact = (list, name, value) => {
    if (value === null || value === undefined || value === "") return;
    const pair = make("div");
    pair.append(make("dt", name));
    const term = make("dd");
    term.append(value instanceof Node ? value : make("span", String(value)));
    pair.append(term);
    list.append(pair);
  };
  const requestLink = (id) => {
    if (!/^req_[A-Za-z0-9]+$/.test(id || "")) return id ? make("code", id) : null;
    return outside(id, `${facts.dashboard}/logs/${id}`);
  };
  const valuesTable = (values) => {
    const table = make("table", null, "values");
    const head = table.createTHead().insertRow();
    for (const name of ["Field", "Before", "After"]) {
      const cell = make("th", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const [path, before, after] of values) {
      const line = body.insertRow();
      const name = make("th", path);
      name.scope = "row";
      line.append(name, make("td", before), make("td", after));
    }
    return table;
  };
  const showDetail = (position) => {
    const row = data[shown[position]];
    const detail = row[DETAIL] || {};
    const cause = facts.causes[row[CAUSE]];
    const status = facts.statuses[row[STATUS]];
    const body = $("detail-body");
    opened = position;
    const bar = make("div", null, "bar");
    bar.append(make("p", `${figures.format(position + 1)} of ${figures.format(shown.length)}`, "note where"));
    for (const [text, label, to] of [["←", "Previous change", position - 1], ["→", "Next change", position + 1]]) {
      const button = make("button", text);
      button.type = "button";
      button.setAttribute("aria-label", label);
      button.disabled = to < 0 || to >= shown.length;
      button.addEventListener("click", () => showDetail(to));
      bar.append(button);
    }
    const close = make("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => $("detail").close());
    bar.append(close);
    const title = make("h2", `${facts.syncs[row[SYNC]]} [${row[KEY]}]`);
    title.id = "detail-title";
    const said = make("p", row[ACTION] < facts.actions.length - 1 ? `${facts.actions[row[ACTION]]}: ${wordOf(row)}` : "rejected before anything was sent", `s-${status}`);
    body.replaceChildren(bar, title, said);
    if (cause) {
      body.append(make("h3", "What it means"), prose(`${cause.meaning}.`, "meaning"));
      if (cause.hint) body.append(make("h3", "What to do"), prose(`${cause.hint}.`, "meaning"));
    }
    const isPlanned = row[ACTION] < facts.actions.length - 1;
    if (detail.failure) {
      body.append(make("h3", detail.failure.status ? "What Stripe answered" : isPlanned ? "What happened" : "Why it was not sent"));
      if (detail.failure.message) body.append(isPlanned ? make("blockquote", detail.failure.message) : prose(detail.failure.message));
      if (!isPlanned && detail.reason) body.append(make("h3", "What to do"), prose(detail.reason, "meaning"));
      const list = make("dl", null, "facts small");
      fact(list, "Code", detail.failure.code);
      fact(list, "Type", detail.failure.type);
      fact(list, "HTTP status", detail.failure.status);
      fact(list, "Parameter", detail.failure.param);
      body.append(list);
    }
    const list = make("dl", null, "facts small");
    fact(list, "Request", requestLink(row[REQUEST]));
    fact(list, "Object", row[ID] ? objectLink(row) : null);
    fact(list, "Amount", amountOf(row));
    fact(list, "HTTP requests", row[ATTEMPTS] || null);
    fact(list, "Ended", row[TIME] === null ? null : `${figures.format(row[TIME] / 1000)} s after the start`);
    if (detail.reason && isPlanned) fact(list, "Reason", detail.reason);
    body.append(make("h3", isPlanned ? "The change" : "The row"), list);
    if (detail.values) body.append(valuesTable(detail.values));
    else if (row[FIELDS].length) body.append(make("p", `Fields: ${fieldsOf(row)}`));
    if (detail.calls) body.append(make("h3", detail.calls.length === 1 ? "The request" : "The requests"));
    for (const [operation, target, params] of detail.calls || []) {
      body.append(make("p", target ? `${operation} ${target}` : operation));
      if (params) body.append(make("pre", JSON.stringify(params, null, 2)));
    }
    if (!$("detail").open) $("detail").showModal();
    $("detail").scrollTop = 0;
    close.focus();
  };

  // A spreadsheet must not take a key for a formula.
  const cellOf = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.,]+$/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const csvOf = () => {
    const lines = [["result", "sync", "key", "change", "fields", "amount", "object", "request", "code", "message", "address"]];
    for (const index of shown) {
      const row = data[index];
      const failure = (row[DETAIL] || {}).failure || {};
      const address = row[ID] ? addressOf(row) : "";
      lines.push([wordOf(row), facts.syncs[row[SYNC]], row[KEY], facts.actions[row[ACTION]], fieldsOf(row), amountOf(row),
        row[ID], row[REQUEST], failure.code, failure.message, address]);
    }
    return lines.map((line) => line.map(cellOf).join(",")).join("\r\n") + "\r\n";
  };
  const download = () => {
    const link = make("a");
    // The mark tells a spreadsheet that it is UTF-8.
    link.href = URL.createObjectURL(new Blob(["\ufeff", csvOf()], { type: "text/csv" }));
    link.download = facts.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const openCurrent = () => shown.length && showDetail(current);
  const causeRows = (number) => {
    $("q").form.reset();
    filter.cause = number;
    refresh();
    $("changes").scrollIntoView();
    $("grid").focus({ preventScroll: true });
  };
  const chips = () => {
    const counts = facts.statuses.map(() => 0);
    for (const row of data) counts[row[STATUS]]++;
    // The column of the results is as wide as the longest of them, such as "written (further step)".
    const longest = Math.max(0, ...facts.words.map((word, number) => (counts[number] ? word.length : 0)));
    $("table").style.setProperty("--result", `${longest}ch`);
    facts.statuses.forEach((name, number) => {
      if (!counts[number]) return;
      const chip = make("button", `${facts.words[number]} ${figures.format(counts[number])}`);
      chip.dataset.status = name;
      chip.type = "button";
      chip.setAttribute("aria-pressed", "false");
      chip.addEventListener("click", () => {
        const isOn = chip.getAttribute("aria-pressed") !== "true";
        chip.setAttribute("aria-pressed", isOn);
        if (isOn) filter.statuses.add(number);
        else filter.statuses.delete(number);
        refresh();
      });
      $("statuses").append(chip);
    });
  };
  const options = (select, names, column, field) => {
    const used = new Set(data.map((row) => row[column]));
    names.forEach((name, number) => {
      if (used.has(number)) select.append(new Option(name, number));
    });
    select.closest("label").hidden = used.size < 2;
    select.addEventListener("change", () => {
      filter[field] = select.value === "" ? -1 : Number(select.value);
      refresh();
    });
  };
  const heads = () => {
    const head = document.querySelector(".row.head");
    COLUMNS.forEach(([name], column) => {
      const cell = make("div");
      cell.setAttribute("role", "columnheader");
      cell.setAttribute("aria-sort", "none");
      const button = make("button", name);
      button.type = "button";
      button.addEventListener("click", () => {
        sort.down = sort.column === column && !sort.down;
        sort.column = column;
        for (const other of head.children) other.setAttribute("aria-sort", "none");
        cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        refresh();
      });
      cell.append(button);
      head.append(cell);
    });
  };
  const keys = {
    ArrowDown: () => moveTo(current + 1), ArrowUp: () => moveTo(current - 1), PageDown: () => moveTo(current + 10),
    PageUp: () => moveTo(current - 10), Home: () => moveTo(0), End: () => moveTo(shown.length - 1), Enter: openCurrent, " ": openCurrent,
  };

  chips();
  options($("sync"), facts.syncs, SYNC, "sync");
  options($("action"), facts.actions, ACTION, "action");
  heads();
  if (facts.has_amounts) document.documentElement.classList.add("with-amounts");
  $("csv").addEventListener("click", download);
  let typing = 0;
  $("q").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      filter.words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
      refresh();
    }, 60);
  });
  $("q").form.addEventListener("submit", (event) => event.preventDefault());
  $("q").form.addEventListener("reset", () => {
    clearTimeout(typing);
    Object.assign(filter, { words: [], sync: -1, action: -1, cause: -1 });
    filter.statuses.clear();
    for (const chip of $("statuses").children) chip.setAttribute("aria-pressed", "false");
    setTimeout(refresh);
  });
  for (const button of document.querySelectorAll("[data-cause]")) {
    button.hidden = false;
    button.addEventListener("click", () => causeRows(Number(button.dataset.cause)));
  }
  let waiting = false;
  $("rows").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  });
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest("[data-position]");
    if (!row || event.target.closest("a")) return;
    current = Number(row.dataset.position);
    draw();
    openCurrent();
  });
  $("grid").addEventListener("keydown", (event) => {
    if (event.target.closest("button") || !(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  $("detail").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" && opened > 0) showDetail(opened - 1);
    if (event.key === "ArrowRight" && opened < shown.length - 1) showDetail(opened + 1);
  });
  $("detail").addEventListener("click", (event) => event.target === $("detail") && $("detail").close());
  $("detail").addEventListener("close", () => {
    moveTo(opened);
    $("grid").focus({ preventScroll: true });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, dialog") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    $("q").focus();
  });
  addEventListener("resize", draw);
  // On paper nothing scrolls: the first rows that fit the filters stand there one by one.
  addEventListener("beforeprint", () => {
    const rows = [];
    for (let position = 0; position < Math.min(MOST_PRINTED, shown.length); position++) rows.push(rowElement(position, 0));
    if (shown.length > MOST_PRINTED) rows.push(make("p", `and ${figures.format(shown.length - MOST_PRINTED)} more`, "empty"));
    $("rows").replaceChildren($("filler"), ...rows);
  });
  addEventListener("afterprint", draw);
  $("table").hidden = false;
  refresh();
})();

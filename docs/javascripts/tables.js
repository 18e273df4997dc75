// What Markdown can't say about tables and code. The styles are in extra.css.
// In characters: what a column has room for beside two others, and what may break if it has to.
const WIDE = 30;
const LONG = 20;
const IN_ADDRESSES = /(?<=[/_])(?=\w)/;

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
    const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
    table.dataset.cards = names.length;
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, at) => (cell.dataset.label = names[at]));
    }
  }
  for (const link of document.querySelectorAll(".md-typeset td a")) {
    if (!link.children.length) link.replaceChildren(...breakable(link.textContent, IN_ADDRESSES));
  }
  for (const cell of document.querySelectorAll(".md-typeset td")) {
    for (const text of [...cell.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)) {
      const words = text.data.split(/(\s+)/);
      text.replaceWith(...words.flatMap((word) => (word.length > WIDE ? breakable(word, IN_ADDRESSES) : [word])));
    }
  }
  for (const code of document.querySelectorAll(".md-typeset :not(pre) > code")) {
    const words = code.textContent.split(/(\s+)/);
    code.replaceChildren(...words.flatMap(pieces));
  }
});

function pieces(word) {
  if (word.includes("-") && word.length <= WIDE) return whole(word);
  return word.length > LONG ? breakable(word) : [word];
}

// `--output` and `dbt-stripe-sync` in one piece: browsers break lines after any hyphen.
function whole(word) {
  const token = document.createElement("span");
  token.className = "token";
  token.textContent = word;
  return [token];
}

// `phases[].items[].price_data.unit_amount_decimal` may break after its dots, `rejected[rate_limit]` at its bracket.
function breakable(word, places = /(?<=[\w\]][.:/])(?=\w)|(?=\[\w)/) {
  const parts = word.split(places);
  return parts.flatMap((part, at) => (at ? [document.createElement("wbr"), part] : [part]));
}

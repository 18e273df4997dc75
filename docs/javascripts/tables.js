// What Markdown can't say about tables and code. The styles are in extra.css.
const LONG = 30; // characters that a column has room for beside two others

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
    const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
    table.dataset.cards = "";
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, at) => (cell.dataset.label = names[at]));
    }
  }
  for (const code of document.querySelectorAll(".md-typeset :not(pre) > code")) {
    const words = code.textContent.split(/(\s+)/);
    code.replaceChildren(...words.flatMap((word) => (word.length > LONG ? breakable(word) : whole(word))));
  }
});

// `--output` and `dbt-stripe-sync` in one piece: browsers break lines after any hyphen.
function whole(word) {
  if (!word.includes("-")) return [word];
  const token = document.createElement("span");
  token.className = "token";
  token.textContent = word;
  return [token];
}

// `phases[].items[].price_data.unit_amount_decimal` may break after its dots.
function breakable(word) {
  const parts = word.split(/(?<=[.:/])(?=\w)/);
  return parts.flatMap((part, at) => (at ? [document.createElement("wbr"), part] : [part]));
}

// Dark or light: as the system has it, until a person chooses.

const ORDER = ["auto", "dark", "light"];
const SIGNS = { auto: "◐", dark: "●", light: "○" };
const WORDS = { auto: "as the system has them", dark: "dark", light: "light" };

export function startTheme(pressed) {
  let chosen = ORDER.find((each) => each === read()) ?? "auto";
  const show = () => {
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    pressed.textContent = SIGNS[chosen];
    pressed.title = `Colours: ${WORDS[chosen]}`;
    pressed.setAttribute("aria-label", pressed.title);
  };
  pressed.addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    try { localStorage.setItem("theme", chosen); } catch { /* then it lasts as long as the page */ }
    show();
  });
  show();
}

function read() {
  try { return localStorage.getItem("theme"); } catch { return null; }
}

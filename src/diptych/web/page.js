// Gradio's pictures have no names for those who do not see them, and its lines are not read out.
() => {
  for (const line of document.querySelectorAll("#line, #several-line")) line.ariaLive = "polite";
  const names = {
    "#slider img": ["before", "after"], "#back img": ["there and back"], "#picture img": ["picture"],
  };
  const name = () => {
    for (const [places, texts] of Object.entries(names))
      document.querySelectorAll(places).forEach((image, i) => {
        const text = texts[i % texts.length];
        if (image.alt !== text) image.alt = text;
      });
  };
  name();
  // Gradio opens a list of choices again when the Tab key leaves it.
  document.addEventListener("focusout", ({ target }) => {
    if (target.matches("[role=combobox]"))
      setTimeout(() => target.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true })));
  });
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}

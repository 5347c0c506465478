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
  // Gradio takes for a picture what the browser calls one, and many do not know those of phones.
  const unknown = (file) => !file.type;
  const named = (files) => {
    const all = new DataTransfer();
    for (const file of files)
      all.items.add(unknown(file) ? new File([file], file.name, { type: "image/unknown" }) : file);
    return all;
  };
  document.addEventListener("change", ({ target }) => {
    if (target.matches("#picture input[type=file]") && [...target.files].some(unknown))
      target.files = named(target.files).files;
  }, true);
  document.addEventListener("drop", (event) => {
    const { target, dataTransfer } = event;
    if (!target.closest("#picture") || ![...dataTransfer.files].some(unknown)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const again = { dataTransfer: named(dataTransfer.files), bubbles: true };
    target.dispatchEvent(new DragEvent("drop", again));
  }, true);
  // Gradio opens a list of choices again when the Tab key leaves it.
  document.addEventListener("focusout", ({ target }) => {
    if (target.matches("[role=combobox]"))
      setTimeout(() => target.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true })));
  });
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}

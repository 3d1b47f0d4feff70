"use strict";
const form = document.getElementById("search");
const image = document.getElementById("image");
const key = document.getElementById("key");
const result = document.getElementById("result");

async function search(path, body) {
  result.textContent = "Searching …";
  try {
    const answer = await fetch(form.dataset.base + path, { method: "POST", body });
    const text = await answer.text();
    if (answer.ok) {
      result.innerHTML = text;
    } else {
      result.textContent = text;
    }
  } catch (error) {
    result.textContent = "The server did not answer: " + error;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (image.files.length > 0) {
    search("/image", image.files[0]);
  } else if (key.value !== "") {
    search("/key", key.value);
  }
});
image.addEventListener("change", () => {
  if (image.files.length > 0) {
    key.value = "";
    search("/image", image.files[0]);
  }
});
key.addEventListener("input", () => { image.value = ""; });

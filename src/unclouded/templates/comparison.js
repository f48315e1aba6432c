for (const slider of document.querySelectorAll(".compare input")) {
  slider.addEventListener("input", () => slider.parentElement.style.setProperty("--cut", slider.value + "%"));
}

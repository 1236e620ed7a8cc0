// Light or dark as it was chosen here before, set ahead of the first paint. Loaded as a plain script for that reason.
"use strict";
try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* storage may be forbidden: the system's choice holds */ }

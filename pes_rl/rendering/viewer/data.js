// Reading the recording, and small helpers of every other part.

const element = (id) => document.getElementById(id);

/** The typed array whose little-endian bytes are `text` in base64. */
function unpack(text, ArrayType) {
  return new ArrayType(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer);
}

/** The value of a CSS custom property in the current theme. */
function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** A number as people write it: four significant digits, thousands separated. */
function readable(value) {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  const digits = clamp(3 - Math.floor(Math.log10(Math.abs(value) || 1)), 0, 3);
  return value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1");
}

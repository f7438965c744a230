// Nothing fails in silence: one line on the console, once, that says what to do.

var said = {};

export function warn(text) {
  if (said[text]) return;
  said[text] = true;
  if (typeof console === 'object' && console.warn) console.warn('Backbone.IO: ' + text);
}

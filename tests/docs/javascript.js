// Runs the JavaScript of the pages: `node javascript.js` is given [{page, line, text}, ...] as JSON
// on its standard input and prints [{page, line, error}, ...] for what fails.
//
// All scripts of one page run one after the other in one window, with jQuery, Underscore, Backbone
// and backbone.io.js, and a Socket.IO that never connects. Modules are parsed, and what they import
// has to be there.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const {createRequire} = require('node:module');

const JS = path.join(__dirname, '..', '..', 'js');
const load = createRequire(path.join(JS, 'package.json'));
const {JSDOM, VirtualConsole} = load('jsdom');
const io = load('socket.io-client');
const file = (...names) => fs.readFileSync(path.join(JS, ...names), 'utf8');
const LIBRARIES = [
  file('node_modules', 'jquery', 'dist', 'jquery.js'),
  file('node_modules', 'underscore', 'underscore-umd.js'),
  file('node_modules', 'backbone', 'backbone.js'),
  file('node_modules', 'backbone.radio', 'build', 'backbone.radio.js'),
  file('node_modules', 'backbone.marionette', 'lib', 'backbone.marionette.js'),
  file('dist', 'backbone.io.js')
];
// What the pages' code calls and does not show.
const STAGE = `
  for (const name of ['show', 'showOffline', 'drawAll']) window[name] = function() {};
  window.requirejs = {config: function() {}};
  window.require = function() { return {createBackend: () => anything, listen: function() {}, middleware: anything}; };
  window.app = window.auth = window.audit = window.anything = new Proxy(function() {}, {get: () => anything, apply: () => anything});
  window.collection = new Backbone.Collection();
`;

function makeWindow() {
  const virtualConsole = new VirtualConsole();
  const {window} = new JSDOM('<ul></ul>', {url: 'http://127.0.0.1:9/', runScripts: 'outside-only', virtualConsole});
  window.io = (url, options) => io(typeof url === 'string' ? url : 'http://127.0.0.1:9/', {...url, ...options, autoConnect: false});
  Object.assign(window.io, io);
  for (const library of LIBRARIES) window.eval(library);
  window.eval(STAGE);
  return window;
}

const windows = {};

function run({page, line, text}) {
  const filename = page, lineOffset = line - 1;
  if (/^(import|export) /m.test(text)) return new vm.SourceTextModule(text, {identifier: page, lineOffset});
  const window = windows[page] = windows[page] || makeWindow();
  window.module = {};
  new vm.Script(text, {filename, lineOffset});
  return window.eval(text + '\n//# sourceURL=' + page);
}

const failed = [];
for (const block of JSON.parse(fs.readFileSync(0, 'utf8'))) {
  try {
    run(block);
  } catch (error) {
    failed.push({page: block.page, line: block.line, error: String(error.stack).split('\n').slice(0, 6).join(' ')});
  }
}
console.log(JSON.stringify(failed));
process.exit(0);

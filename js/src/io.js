// Where the Socket.IO client is. It is looked for when connecting, so that it may be
// loaded after us: as the global `io`, by CommonJS, or as whichever of the names that
// pages with RequireJS give to it is defined. (The ES module has `io.esm.js` instead.)

var NAMES = ['socketio', 'socket.io-client', 'socket.io', 'io'];

export function findIO() {
  var root = typeof globalThis === 'object' ? globalThis : self, io;
  if (root.io) return root.io;
  if (typeof define === 'function' && define.amd) {
    NAMES.some(function(name) {
      // RequireJS throws at what is not loaded.
      try { io = require(name); } catch (missing) { return false; }
      return typeof io === 'function';
    });
    return io;
  }
  return typeof module === 'object' && module.exports ? require('socket.io-client') : null;
}

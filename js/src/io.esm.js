// The Socket.IO client of the ES module: an import like any other.
import {io} from 'socket.io-client';

export function findIO() {
  return io;
}

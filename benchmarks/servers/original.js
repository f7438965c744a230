// The same work on the original backbone.io 0.4 (Socket.IO 0.9).
'use strict';

const http = require('node:http');
const backboneio = require('backbone.io');
const control = require('./control');

const messages = backboneio.createBackend();
messages.setMaxListeners(0);
messages.use(backboneio.middleware.memoryStore());
for (const model of control.models.values()) {
  messages.handle({ method: 'update', model }, { end() {} }, () => {});
}

const server = http.createServer(
  control.page(() => messages.emit('updated', control.models.get(1))),
);
backboneio.listen(server, { messages }).set('log level', 0);
server.listen(Number(process.argv[2]), '127.0.0.1');

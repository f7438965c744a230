// The same work on Node's Socket.IO 4.
'use strict';

const http = require('node:http');
const { Server } = require('socket.io');
const control = require('./control');

const { models } = control;
const server = http.createServer();
const messages = new Server(server).of('/messages');
let rev = 0;

messages.on('connection', (socket) => {
  socket.on('listen', (channel, callback) => {
    socket.data.channel = `channel-${channel}`;
    socket.join(socket.data.channel);
    callback({ event: 'backend', channel });
  });
  socket.on('sync', ({ method, model }, callback) => {
    if (method === 'read') return callback(null, models.get(model.id), {});
    models.set(model.id, model);
    const meta = { rev: ++rev };
    socket.to(socket.data.channel).emit('synced', method, model, meta);
    callback(null, model, meta);
  });
});

// Socket.IO looks at requests first and leaves those for other paths to us.
server.on('request', (request, response) => {
  if (request.url.startsWith('/socket.io/')) return;
  control.page(() => messages.emit('synced', 'update', models.get(1), { rev: ++rev }))(request, response);
});
server.listen(Number(process.argv[2]), '127.0.0.1');

// UDP echo with Node's dgram.
const dgram = require('dgram');
const [role, port, host] = process.argv.slice(2);
const socket = dgram.createSocket('udp6');
socket.on('error', (e) => { console.log(`error ${e.code}`); process.exit(1); });
if (role === 'server') {
  socket.on('message', (data, from) => socket.send(data, from.port, from.address));
  socket.bind(Number(port));
} else {
  let n = 0;
  const next = () => {
    n += 1;
    if (n === 11) {
      socket.connect(Number(port), host, () => { console.log('connected', socket.remoteAddress().port); ask(); });
    } else if (n > 20) {
      socket.close(() => console.log('closed'));
    } else {
      ask();
    }
  };
  const ask = () => (n > 10 ? socket.send(`connected ${n}`) : socket.send(`unconnected ${n}`, Number(port), host));
  socket.on('message', (data, from) => { console.log(String(data), from.family, from.size, from.port); next(); });
  next();
}

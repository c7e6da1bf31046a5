// Sends one message, read from stdin: HOST:PORT CA-FILE|- FROM TO...
const fs = require('fs');
const nodemailer = require('nodemailer');

const [addr, ca, from, ...to] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: 'localhost',
  port: Number(addr.split(':')[1]),
  name: 'mail.sender.example',
  secure: false,
  ignoreTLS: ca === '-',
  requireTLS: ca !== '-',
  tls: ca === '-' ? {} : { ca: fs.readFileSync(ca) },
});
transport.sendMail({ envelope: { from, to }, raw: fs.readFileSync(0) }, (err, info) => {
  if (err || info.rejected.length > 0) {
    console.error(err || info);
    process.exit(1);
  }
});

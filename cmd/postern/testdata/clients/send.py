"""Sends one message, read from stdin: HOST:PORT CA-FILE|- FROM TO..."""
import smtplib
import ssl
import sys

host, port = sys.argv[1].split(":")
ca, sender, to = sys.argv[2], sys.argv[3], sys.argv[4:]
octets = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
with smtplib.SMTP("localhost", int(port), local_hostname="mail.sender.example") as client:
    client.ehlo()
    if ca != "-":
        client.starttls(context=ssl.create_default_context(cafile=ca))
        client.ehlo()
    options = ["BODY=8BITMIME"] if client.has_extn("8bitmime") else []
    if not (sender + "".join(to)).isascii():
        options.append("SMTPUTF8")
    refused = client.sendmail(sender, to, octets, mail_options=options)
sys.exit(str(refused) if refused else 0)

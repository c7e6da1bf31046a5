# Postern as it runs behind port 25: the MX and the delivery agent, two processes
# that meet in a UNIX socket, full durability. It judges SPF, DKIM and DMARC of
# every message, as it does in production; dnsstub answers. The unix user is the
# mailboxes' for both, so that the agent knows its peer for one of ours.
PEER_DESC="postern mx -> LMTP over a unix socket -> postern mda, Maildir"
: "${POSTERN_PROGRAM=${POSTERN_BIN:-}}"
peer_available() { [ -x "$POSTERN_PROGRAM" ] || { echo "POSTERN_BIN is not set: contrib/bench/run builds it"; return 1; }; }
peer_tls() { echo yes; }
peer_store_dirs() { echo "$ROOT/$DOMAIN/*/new"; }
peer_setup() {
  ensure_user $VUSER
  ( ROOT=$ROOT/$DOMAIN; maildirs $VUSER "" )
  local dns=127.0.5.$((PORT % 200 + 10)) # of its own, where two revisions run
  dns_setup "$dns" || return 1
  local etc=$WORK/etc half
  mkdir -p "$etc/recipients.d"
  { echo "domain = \"$DOMAIN\""; echo "mailboxes = ["; sed 's/.*/  "&",/' "$USERS"; echo "]"; } >"$etc/recipients.d/$DOMAIN.toml"
  self_cert "$etc" || return 1
  chmod 644 "$etc/privkey.pem"
  for half in mx mda; do
    mkdir -p "$WORK/$half/state" "$WORK/$half/spool"
    cat >"$etc/$half.toml" <<C
hostname = "mx.$DOMAIN"
recipients = "recipients.d"
state = "$WORK/$half/state"
[mx]
listen = ["127.0.0.1:$PORT"]
max_connections = 4000
tls = { cert = "$etc/fullchain.pem", key = "$etc/privkey.pem" }
spool = "$WORK/$half/spool"
deliver_to = "unix:$WORK/lmtp.sock"
control = "$WORK/$half/mx-control.sock"
[mda]
listen = "unix:$WORK/lmtp.sock"
store = "$ROOT"
durability = "full"
control = "$WORK/$half/mda-control.sock"
[dns]
servers = ["$dns:53"]
[limits]
exempt = ["127.0.0.0/8"]
[log]
format = "text"
C
  done
  chown -R $VUSER "$WORK/mx" "$WORK/mda"; chown $VUSER "$WORK" "$ROOT"; chmod 755 "$WORK"
}
as_vuser() { exec setpriv --reuid=$VUSER --regid=$VUSER --clear-groups "$@"; }
peer_start() {
  ulimit -n "$(ulimit -Hn)"
  as_vuser "$POSTERN_PROGRAM" mda --config "$WORK/etc/mda.toml" >"$WORK/mda.log" 2>&1 & echo $! >"$WORK/mda.pid"
  wait_sock "$WORK/lmtp.sock" || { cat "$WORK/mda.log"; return 1; }
  as_vuser "$POSTERN_PROGRAM" mx --config "$WORK/etc/mx.toml" >"$WORK/mx.log" 2>&1 & echo $! >"$WORK/mx.pid"
  wait_port "$PORT" || { cat "$WORK/mx.log"; return 1; }
}
peer_stop() { kill_wait "$WORK/mx.pid"; kill_wait "$WORK/mda.pid"; dns_stop; }

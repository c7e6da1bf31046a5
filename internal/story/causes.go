package story

import (
	"postern/mail"
	"postern/policy"
)

// A cause is a reason why mail is not taken, in words for people. What stands in
// braces is replaced: {to} and {domain} the recipient and its domain, {from} and
// {sender} the sender and the sender's domain, {ip} the client, {author} the
// author's domain, {why} what the check that decided says, {text} what the client
// heard, {said} what the client said, {size} the size of the message, {cause} what
// is in the log.
type cause struct {
	what   string // what is the matter
	sender string // what the sender can do
	here   string // what the administrator here can do
	checks string // those whose findings are the evidence, separated by spaces
}

const nothing = "Nothing: mail servers try again by themselves, for days, and the message is not lost."

// causes are those that there are, by name.
var causes = map[string]cause{
	"unknown user": {
		what:   "There is no mailbox {to} here, and no alias or catch-all stands for it.",
		sender: "Check how the address is spelled, or ask the recipient for it by another way.",
		here:   "If it is to exist, add it to the map of {domain} in the recipients folder; it serves within a second.",
	},
	"refused by the map": {
		what:   `The map of {domain} refuses mail to {to}, and says "{text}".`,
		sender: "Do what the answer says.",
		here:   "If it is to be taken, remove the address from [refuse] in the map of {domain}.",
	},
	"not our domain": {
		what:   "{domain} is no domain of ours, and we pass on no mail for others.",
		sender: "Check the domain of the address. If it is right, its MX record points to the wrong host.",
		here:   "If its mail is to come here, write a map for {domain} into the recipients folder.",
	},
	"access rule": {
		what:   "An access rule of this site decides about such mail: {why}.",
		sender: "Ask the recipient, by another way, to have it let in.",
		here:   "Change the rule, which that names by file and line; or put one before it with action = \"allow\".",
	},
	"DNS list": {
		what:   "The address that it came from, {ip}, is {why}.",
		sender: "Whoever runs the server at {ip} asks the list to be taken off it; its site says how. Until then, send by another server.",
		here:   "To take it all the same: an access rule with action = \"allow\" for this sender or client, or limits.exempt.",
		checks: "dnsbl",
	},
	"rate": {
		what:   "More came in an hour than is taken here: {why}.",
		sender: nothing,
		here:   "The bounds are limits.messages_per_client and limits.messages_per_recipient; limits.exempt excuses clients.",
	},
	"greylist": {
		what:   "Whom nobody here knows, and no domain vouches for, has to wait once: {why}.",
		sender: "Nothing: mail servers try again by themselves, within minutes, and are known from then on.",
		here:   "greylist.delay says how long; an access rule with action = \"allow\", or limits.exempt, lets somebody in at once.",
		checks: "greylist spf dmarc",
	},
	"SPF": {
		what:   "The domain of the sender, {sender}, publishes that it sends no mail at all (v=spf1 -all), and no signature says otherwise.",
		sender: "Send from a domain that does send mail; or its owner corrects the SPF record of {sender}.",
		here:   "To take it all the same: an access rule with action = \"allow\" for {from}; policy.forwarders if somebody forwards it.",
		checks: "spf dkim",
	},
	"DMARC": {
		what:   "The message says that it is from {author}, and nothing proves it: neither SPF nor DKIM. That domain wants such mail refused: {why}.",
		sender: "Send through a server that {author} lists in SPF, or that signs for it by DKIM. If it was forwarded, or came by a mailing list, that is what broke the proof.",
		here:   "A forwarder or a mailing list that you trust belongs in policy.forwarders; policy.dmarc_reject = \"quarantine\" sets all such mail apart.",
		checks: "spf dkim arc dmarc",
	},
	"several authors": {
		what:   "It is not to be told who it is from: {why}. Nobody knows which one a reader would see.",
		sender: "Write one From field. Programs that send forms or lists often do this wrong.",
		here:   "policy.several_from = \"quarantine\" or \"mark\" takes such mail.",
	},
	"silent DNS": {
		what:   "The DNS gave no answer that is needed to judge the message, and this site wants to wait for one (policy.on_temperror).",
		sender: nothing + " If it goes on, the name servers of {sender} are sick.",
		here:   "If many are put off, look at the resolver that dns.servers names. policy.on_temperror = \"accept\" does not wait.",
		checks: "spf dkim dmarc",
	},
	"filter": {
		what:   "The filter decided: {why}.",
		sender: "Send it in another form: without attachments, without that link. If it is harmless, the recipient can ask for it to be let in.",
		here:   "The filter's own log says more. An access rule with action = \"allow\" passes it by.",
		checks: "filter",
	},
	"quota": {
		what:   "The mailbox {to} is full.",
		sender: "Send it again when the recipient has made room.",
		here:   "The recipient removes mail, or the quota in the map of {domain} is raised. postern store check tells whether it is counted right.",
	},
	"too large": {
		what:   "The message, {size}, is larger than is taken here.",
		sender: "Send less at once, or a link to it.",
		here:   "mx.max_message_size is the limit; the delivery agent's is a little above, that of another LMTP server may be lower.",
	},
	"malformed": {
		what:   "The message is not built as the standards have it: {text}.",
		sender: "The program that made it is to be corrected.",
		here:   "A bare LF is taken with mx.bare_newline = \"normalize\". A message that loops comes back to this host: look at its Received fields.",
	},
	"not understood": {
		what:   "A command was not understood: {said}.",
		sender: "The address or a parameter is not written as the standards have it.",
		here:   "Nothing: RFC 5321, section 4.1, is what it is held to.",
	},
	"protocol": {
		what:   "A limit of the protocol was met: {text}.",
		sender: nothing,
		here:   "mx.max_recipients bounds the recipients of a message; what goes beyond it comes in another one.",
	},
	"an earlier attempt": {
		what:   "What the recipient's mailbox answered to an earlier attempt is told here; then, other recipients were served.",
		sender: "Do what the answer says.",
		here:   "Look for the attempt before: postern why {from}",
	},
	"next hop": {
		what:   "The server that delivers refuses it for {to}: {text}.",
		sender: "Do what the answer says.",
		here:   "It is the LMTP server that mx.deliver_to names; its log says more.",
	},
	"our own trouble": {
		what:   "The trouble is ours, and none of the message: {cause}.",
		sender: nothing,
		here:   "Repair that, and look at the log around this time. The mail comes by itself.",
	},
	"several recipients": {
		what:   "Some recipients have it, and others refuse it for good; SMTP has one answer for all.",
		sender: "Nothing: at the next attempt, which comes by itself, each recipient is answered for itself, and nobody gets it twice.",
		here:   "Nothing. The next attempt tells: postern why {from}",
	},
	"broken off": {
		what:   "The connection ended before the message was there: {text}.",
		sender: nothing,
		here:   "If it goes on with this client alone, look for a firewall or an MTU between.",
	},
	"too many": {
		what:   "The client, or its network, had more connections or made more errors than is allowed: {text}.",
		sender: nothing + " If it goes on: its list of addresses is old, or it opens too many connections at once.",
		here:   "The bounds are limits.connections_per_client, limits.errors_per_client and mx.max_connections; limits.exempt excuses clients.",
	},
	"TLS": {
		what:   "The handshake of TLS failed: {cause}.",
		sender: "Update the server's TLS; or it sends without.",
		here:   "Look whether others fail too: then it is the certificate, or its chain.",
	},
}

// byCheck are the names of causes, by the check that decided.
var byCheck = map[string]string{
	"access": "access rule", "dnsbl": "DNS list", "rate": "rate", "from": "several authors", "spf": "SPF", "dmarc": "DMARC",
	"dns": "silent DNS", "greylist": "greylist", "filter": "filter",
}

// causeOf returns the name of the cause of a reply that no policy chose.
func causeOf(reply mail.Reply, by policy.Answerer) string {
	for _, known := range []struct {
		name    string
		replies []mail.Reply
	}{
		{"not our domain", []mail.Reply{mail.NoRelay}},
		{"unknown user", []mail.Reply{mail.NoSuchUser}},
		{"our own trouble", []mail.Reply{mail.NoSpace, mail.Broken, mail.LocalError, mail.TryAgain, mail.NextHopDown, mail.NextHopSlow, mail.ShuttingDown}},
		{"several recipients", []mail.Reply{mail.MixedResult}},
		{"too large", []mail.Reply{mail.TooBig, mail.FarTooBig}},
		{"malformed", []mail.Reply{mail.BareNewline, mail.MailLoop, mail.HeaderTooBig, mail.BadChunk}},
		{"broken off", []mail.Reply{mail.ClientLost, mail.IdleTooLong}},
		{"too many", []mail.Reply{mail.TooManyConnections, mail.TooManyErrors}},
		{"TLS", []mail.Reply{mail.TLSUnavailable}},
		{"not understood", []mail.Reply{mail.NonASCIISender}},
	} {
		for _, r := range known.replies {
			if reply.Is(r) {
				return known.name
			}
		}
	}
	return causeBy(reply, by)
}

// causeBy is causeOf for a reply in words that are not ours.
func causeBy(reply mail.Reply, by policy.Answerer) string {
	switch {
	case by == policy.ByMaps && !reply.Temporary():
		return "refused by the map"
	case by == policy.ByMemory:
		return "an earlier attempt"
	case reply.Status[1] == 2 && reply.Status[2] == 2:
		return "quota"
	case reply.Status[1] == 3 && reply.Status[2] == 4:
		return "too large"
	case reply.Status[1] == 1 && reply.Status[2] == 1:
		return "unknown user"
	case reply.Code == 501 || reply.Code == 553 || reply.Code == 555:
		return "not understood"
	case by == policy.BySession:
		return "protocol"
	case reply.Temporary() && reply.Err != nil:
		return "our own trouble"
	}
	return "next hop"
}

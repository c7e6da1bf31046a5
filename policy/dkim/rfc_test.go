package dkim

import (
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/header"
	"postern/mail"
)

// RFC 6376, section 3.4.5: one message in all canonical forms.
func TestExamplesOfRFC6376(t *testing.T) {
	const msg = "A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"
	h := header.Scan([]byte(msg), header.Limits{})
	for _, tt := range []struct {
		canon        Canon
		header, body string
	}{
		{Relaxed, "a:X\r\nb:Y Z\r\n", " C\r\nD E\r\n"},
		{Simple, "A: X\r\nB : Y\t\r\n\tZ  \r\n", " C \r\nD \t E\r\n"},
	} {
		var got []byte
		for _, f := range h.Fields {
			got = tt.canon.AppendField(got, f)
		}
		if string(got) != tt.header {
			t.Errorf("%s header %q, want %q", tt.canon, got, tt.header)
		}
		if body, _ := canonicalBody(tt.canon, msg[h.Body:], len(msg)); body != tt.body {
			t.Errorf("%s body %q, want %q", tt.canon, body, tt.body)
		}
	}
}

// RFC 8463, appendix A: both signatures of the message are good.
func TestExampleOfRFC8463(t *testing.T) {
	zone := dns.Zone{
		"TXT brisbane._domainkey.football.example.com": {"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
		"TXT test._domainkey.football.example.com": {"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" +
			"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKr" +
			"M3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"},
	}
	msg := crlfed(`DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.

`)
	report, err := Verify(t.Context(), zone, mail.Octets(msg), Options{})
	if err != nil || len(report.Results) != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	for i, want := range []Result{
		{Algorithm: "ed25519-sha256", KeyBits: 256, Selector: "brisbane", Prefix: "/gCrinpc"},
		{Algorithm: "rsa-sha256", KeyBits: 1024, Selector: "test", Prefix: "F45dVWDf"},
	} {
		got := report.Results[i]
		if got.Verdict != Pass || got.Algorithm != want.Algorithm || got.KeyBits != want.KeyBits || got.Selector != want.Selector ||
			got.Prefix != want.Prefix || got.Domain != "football.example.com" || got.Created.Unix() != 1528637909 {
			t.Errorf("signature %d: %+v", i, got)
		}
		if !strings.HasPrefix(got.Question, "TXT "+want.Selector) || !strings.Contains(got.Answer, "v=DKIM1; k=") {
			t.Errorf("signature %d: evidence %q, %q", i, got.Question, got.Answer)
		}
	}
}

// RFC 6376, appendix A: the signature is good, with the key of appendix C.
func TestExampleOfAppendixA(t *testing.T) {
	zone := dns.Zone{"TXT brisbane._domainkey.example.com": {"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ" +
		"KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1" +
		"lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"}}
	msg := crlfed(`DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`)
	got := verifyOne(t, zone, msg)
	if got.Verdict != Pass || got.Identity != "joe@football.example.com" || got.Domain != "example.com" {
		t.Errorf("%#v", got)
	}
}

package arc

import (
	"strings"
	"testing"

	"postern/internal/header"
	"postern/mail"
	"postern/policy/dkim"
)

// The worst chain that a stranger can send within the limits: as many sets as
// there may be, each of whose signatures is good and covers as many fields as it
// may, over a body of 25 MiB.
func BenchmarkWorst(b *testing.B) {
	const fields = header.DefaultFields - 3*maxSets - 2
	names := with("h=", "h="+strings.Repeat("x:", 498))
	hosts := make([]sealer, maxSets)
	for i := range hosts {
		hosts[i].sign = names
		if i%2 == 1 {
			hosts[i].sign = func(s string) string { return names(strings.Replace(s, "relaxed/simple", "relaxed/relaxed", 1)) }
		}
	}
	msg := sealed(strings.Repeat("x:\r\n", fields)+testMessage[:strings.Index(testMessage, "Hello")]+strings.Repeat("x\r\n", 25<<20/3), hosts...)
	h := header.Scan([]byte(msg), header.Limits{})
	zone := testZone()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := Verify(b.Context(), zone, dkim.NewMessage(mail.Octets(msg), h), dkim.Options{})
		if err != nil || r.Verdict != Pass || len(r.Sets) != maxSets {
			b.Fatal(r.Verdict, r.Reason, err)
		}
	}
}

package publish

import (
	"context"
	"errors"
	"strings"

	"postern/internal/dns"
)

// An Ask asks the DNS, as dns.Client.Lookup does.
type Ask func(ctx context.Context, typ, name string) (dns.Answer, error)

// Absent reports whether err says that there is no such record.
func Absent(err error) bool { return dns.NotFound(err) || errors.Is(err, dns.ErrNoData) }

// Records returns the records, and whether it is known which there are.
func (ask Ask) Records(ctx context.Context, typ, name string) (records []string, known bool) {
	a, err := ask(ctx, typ, name)
	return a.Records, err == nil || Absent(err)
}

// Tagged returns the records that begin with tag.
func Tagged(records []string, tag string) (all []string) {
	for _, r := range records {
		if rest, is := strings.CutPrefix(r, tag); is && (rest == "" || rest[0] == ' ' || rest[0] == ';') {
			all = append(all, r)
		}
	}
	return all
}

// SameName reports whether two names are one, whatever their case and their last dot.
func SameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/dns"
	"postern/internal/publish"
	"postern/mail"
)

func dnsCommand(stdio stdio) *cobra.Command {
	var asJSON, enforce bool
	cmd := &cobra.Command{
		Use:   "dns DOMAIN",
		Short: "Print the DNS records that a domain should publish, and how they differ from what it does",
		Long: `Prints the records to publish for a domain whose mail is taken here, as lines of a
zone file: MX, SPF, DMARC, MTA-STS with the text of its policy, TLSA (3 1 1) of the
certificates in use, and TLSRPT. What is no record is a comment, so that all of it
can be pasted.

Each is compared with what the DNS says now: present, differs, missing, or unknown
where nobody answers. Where the domain has a record of that kind, such as an SPF
record that names who sends for it, that is printed, and not another. MTA-STS and
TLSA are for those who have a certificate (mx.tls); TLSA counts only in a zone that
is signed with DNSSEC.`,
		Example: `  postern dns example.com
  postern dns --enforce example.com    # once reports show that mode testing refuses nobody
  postern dns --json example.com | jq '.records[] | select(.state != "present")'
  postern dns --json example.com | jq -r .mta_sts_policy.text >mta-sts.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := newPublication(configPath(cmd), args[0], enforce)
			if err != nil {
				return err
			}
			if err := p.compare(cmd.Context()); err != nil {
				return err
			}
			if asJSON {
				return printJSON(stdio.out, p.Plan)
			}
			return p.Print(stdio.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&enforce, "enforce", false, "an MTA-STS policy that forbids to deliver without TLS, and not one that only reports")
	return cmd
}

// A publication is what a domain should publish, and who is asked what it does.
type publication struct {
	publish.Plan
	servers []string
}

// newPublication reads the configuration, and what it has for domain.
func newPublication(path, domain string, enforce bool) (*publication, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	r, err := config.LoadRecipients(c.Recipients, c.Hostname)
	if err != nil {
		return nil, err
	}
	name, served := r.Serves(domain)
	if !served {
		return nil, fmt.Errorf("no recipient map is for %s: the domains are %s", mail.Printable(domain, 255), strings.Join(r.Domains(), ", "))
	}
	p := &publication{Plan: publish.Plan{Domain: name, Hostname: c.Hostname, Enforce: enforce}, servers: texts(c.DNS.Servers)}
	for _, f := range c.MX.TLS {
		chain, err := publish.ReadChain(f.Cert)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		p.Chains = append(p.Chains, chain)
	}
	return p, nil
}

// compare asks the DNS, for no longer than timeForDNS.
func (p *publication) compare(ctx context.Context) error {
	resolver, err := briefResolver(p.servers)
	if err != nil {
		return err
	}
	defer resolver.Close()
	ctx, cancel := context.WithTimeout(ctx, timeForDNS)
	defer cancel()
	ask := publish.Ask(resolver.Lookup)
	if _, known := ask.Records(ctx, "A", p.Hostname); !known {
		p.Note("the DNS does not answer, so that nothing could be compared with it")
		ask = func(context.Context, string, string) (dns.Answer, error) { return dns.Answer{}, errNotAsked }
	}
	p.Look(ctx, ask)
	return nil
}

var errNotAsked = errors.New("not asked")

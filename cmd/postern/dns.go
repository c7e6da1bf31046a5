package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/dns"
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
				return printJSON(stdio.out, p)
			}
			return p.print(stdio.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&enforce, "enforce", false, "an MTA-STS policy that forbids to deliver without TLS, and not one that only reports")
	return cmd
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
	p := &publication{Domain: name, Hostname: c.Hostname, servers: texts(c.DNS.Servers), enforce: enforce}
	for _, f := range c.MX.TLS {
		chain, err := readChain(f.Cert)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		p.chains = append(p.chains, chain)
	}
	return p, nil
}

// readChain reads a certificate without its key, which not everybody may read.
func readChain(file string) (*tls.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	chain := new(tls.Certificate)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain.Certificate = append(chain.Certificate, block.Bytes)
		}
	}
	if len(chain.Certificate) == 0 {
		return nil, errors.New("there is none in this file: it must be in PEM")
	}
	chain.Leaf, err = x509.ParseCertificate(chain.Certificate[0])
	return chain, err
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
	ask := asker(resolver.Lookup)
	if _, known := ask.ask(ctx, "A", p.Hostname); !known {
		p.note("the DNS does not answer, so that nothing could be compared with it")
		ask = func(context.Context, string, string) (dns.Answer, error) { return dns.Answer{}, errNotAsked }
	}
	p.look(ctx, ask)
	return nil
}

var errNotAsked = errors.New("not asked")

// print writes p as a part of a zone file.
func (p *publication) print(w io.Writer) error {
	var b strings.Builder
	comment := func(format string, args ...any) { fmt.Fprintf(&b, "; "+format+"\n", args...) }
	comment("what to publish for %s, whose mail comes to %s", p.Domain, p.Hostname)
	for _, note := range p.Notes {
		comment("NOTE: %s", mail.Printable(note, 1000))
	}
	for _, r := range p.Records {
		fmt.Fprintln(&b)
		comment("%s: %s", r.State, r.Note)
		for _, now := range r.Now {
			comment("    now: %s", dns.ZoneLine(r.Name, r.TTL, r.Type, now))
		}
		line := dns.ZoneLine(r.Name, r.TTL, r.Type, r.Data)
		if r.alone && r.State == differs { // another one beside those would not help
			line = "; " + line
		}
		fmt.Fprintln(&b, line)
	}
	if p.Policy != nil {
		fmt.Fprintln(&b)
		comment("the MTA-STS policy, the text to be served at %s:", p.Policy.URL)
		for line := range strings.Lines(p.Policy.Text) {
			comment("    %s", strings.TrimSpace(line))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

package config

import "testing"

// A text without quotes is shown with them, as a whole.
func TestUnquoted(t *testing.T) {
	_, err := build(sources("quota = 2GiB", "x = 30s # c", "confine = yes", "confine = False", "hostname = mx1.example.com # c", "state = /var/lib/x", "listen = :25", "allow = [10.0.0.0/8]", "allow = ['a', 2001:db8::/32]", "x = moved to b@a.example", "x = [b@a.example, 'c']", "x = { a = ./b }", "x = [on]", "x = 10.0.0.1", "x = ~/b", "x = .5", "a = 5 6", "a = 'b' c", "x = # c", "x =\ny = 1"), "")
	compare(t, lines(t, err), `
		1.toml:1:10: expected a top-level item to end with a newline, comment, or EOF, but got 'G' instead; a text stands in quotes, as "2GiB"
		10.toml:1:5: expected value but found "moved" instead; a text stands in quotes, as "moved to b@a.example"
		11.toml:1:6: expected value but found "b" instead; a text stands in quotes, as "b@a.example"
		12.toml:1:11: floats must start with a digit, not '.'; a text stands in quotes, as "./b"
		13.toml:1:6: expected value but found "on" instead; a text stands in quotes, as "on"
		14.toml:1:5: Invalid float value: "10.0.0.1"; a text stands in quotes, as "10.0.0.1"
		15.toml:1:5: expected value but found '~' instead; a text stands in quotes, as "~/b"
		16.toml:1:5: floats must start with a digit, not '.'
		17.toml:1:6: expected a top-level item to end with a newline, comment, or EOF, but got '6' instead; one key stands on a line, and a comment begins with #
		18.toml:1:8: expected a top-level item to end with a newline, comment, or EOF, but got 'c' instead; one key stands on a line, and a comment begins with #
		19.toml:1:5: expected value but found '#' instead; the value is missing
		2.toml:1:7: expected a top-level item to end with a newline, comment, or EOF, but got 's' instead; a text stands in quotes, as "30s"
		20.toml:1:4: expected value but found '\n' instead; the value is missing
		3.toml:1:11: expected value but found "yes" instead; write true
		4.toml:1:11: expected value but found "False" instead; write false
		5.toml:1:12: expected value but found "mx" instead; a text stands in quotes, as "mx1.example.com"
		6.toml:1:9: expected value but found '/' instead; a text stands in quotes, as "/var/lib/x"
		7.toml:1:10: expected value but found ':' instead; a text stands in quotes, as ":25"
		8.toml:1:10: Invalid float value: "10.0.0.0"; a text stands in quotes, as "10.0.0.0/8"
		9.toml:1:15: invalid datetime: "2001:"; a text stands in quotes, as "2001:db8::/32"`)
}

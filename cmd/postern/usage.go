package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usage returns the error of a command line that is wrong in what a command alone
// knows of it.
func usage(format string, args ...any) error {
	return exitCode{exitUsage, fmt.Errorf(format, args...)}
}

// noteRun has began set as soon as a command begins with its work. What goes wrong
// before that is the command line's fault, whichever command it is.
func noteRun(c *cobra.Command, began *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return run(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		noteRun(sub, began)
	}
}

// strict has c, and all commands below it, refuse arguments that they have no use
// for, with words that say which.
func strict(c *cobra.Command) {
	switch {
	case c.Name() == "help":
		c.Args = func(c *cobra.Command, args []string) error {
			if found, rest, _ := c.Root().Find(args); len(rest) > 0 {
				return unknownCommand(found, rest[0])
			}
			return nil
		}
	case c.HasSubCommands():
		family(c)
	case c.Args != nil:
		fits := c.Args
		c.Args = func(c *cobra.Command, args []string) error { return misfit(c, fits, args) }
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

// family makes c a command that does nothing but by the commands below it. Without
// one of them postern itself shows its help; the others would look as if they had
// done something.
func family(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if c.HasParent() {
			return usage("%s does nothing by itself: %s", c.CommandPath(), members(c))
		}
		return c.Help()
	}
}

// unknownCommand says that c has no command of that name, and which there are.
func unknownCommand(c *cobra.Command, name string) error {
	if !c.HasSubCommands() {
		return fmt.Errorf("unknown command %q: %s has no commands of its own", name, c.CommandPath())
	}
	if c.HasParent() {
		return fmt.Errorf("unknown command %q: %s", name, members(c))
	}
	c.SuggestionsMinimumDistance = 2 // as many letters may be wrong
	if like := c.SuggestionsFor(name); len(like) > 0 {
		return fmt.Errorf("unknown command %q: is it %s?", name, strings.Join(like, " or "))
	}
	return fmt.Errorf("unknown command %q", name)
}

// members says how the commands below c are called.
func members(c *cobra.Command) string {
	var lines []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			lines = append(lines, fmt.Sprintf("%s %s", c.CommandPath(), sub.Use))
		}
	}
	return "it is " + strings.Join(lines, ", or ")
}

// misfit says which of args is one too many for what c takes, or that one is
// missing.
func misfit(c *cobra.Command, fits cobra.PositionalArgs, args []string) error {
	if fits(c, args) == nil {
		return nil
	}
	for n := len(args) - 1; n >= 0; n-- {
		if fits(c, args[:n]) == nil {
			return fmt.Errorf("unexpected argument %q; usage: %s", args[n], c.UseLine())
		}
	}
	return errors.New("an argument is missing; usage: " + c.UseLine())
}

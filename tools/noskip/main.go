// Command noskip runs "go test" with the arguments it is given and fails if a
// test fails or was skipped: a test that did not run has shown nothing. It
// prints what go test prints, and the output of skipped tests.
//
//	go run ./tools/noskip -race -shuffle=on ./...
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "noskip:", err)
		os.Exit(1)
	}
}

// run is go test with the arguments. Its error says what was wrong; the
// output has said the rest.
func run(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	skipped, readErr := report(events, os.Stdout)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	if readErr != nil {
		return readErr
	}
	if len(skipped) > 0 {
		return fmt.Errorf("%d tests were skipped, the first is %s", len(skipped), skipped[0])
	}
	return nil
}

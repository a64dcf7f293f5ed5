package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

// uncertainError says that it is not known whether something was done, and how to go on
// without doing it twice.
type uncertainError struct {
	what string // "the proposal was taken"
	next string // what to do now
	err  error
}

// Error implements error.
func (e *uncertainError) Error() string {
	return fmt.Sprintf("whether %s is not known: %v. %s", e.what, e.err, e.next)
}

// Unwrap returns what came instead of an answer.
func (e *uncertainError) Unwrap() error { return e.err }

// patiently asks again while no answer comes that can be believed. Only a node's own no to
// the first attempt means that nothing was done; anything else (silence, a proxy's status, a
// no after silence) is an *uncertainError whose next step doubt names. What is asked MUST be
// done once however often it is asked for.
func patiently[T any](ctx context.Context, what string, ask func() (T, error), doubt func() (next string, err error)) (T, error) {
	answer, err := insist(ctx, ask)
	if err == nil || purse.WasRefused(err) {
		return answer, err
	}
	next, kept := doubt()
	if !purse.AnsweredBy(err) {
		err = purse.Explain(err)
	}
	return answer, errors.Join(&uncertainError{what, next, err}, kept)
}

// sameAgain is the doubt about what is named by its contract or certificate, and so may
// simply be asked for again.
func sameAgain() (string, error) {
	return "Give the same command again: doing it twice is safe.", nil
}

// keeping is the doubt about a signed document that cannot be made again: it is kept in a
// file, and command sends it as it is.
func keeping(path string, body []byte, command string) func() (string, error) {
	return func() (string, error) {
		if err := wallet.Replace(path, append(bytes.Clone(body), '\n'), 0o600); err != nil {
			return "The signed document could not be kept.", err
		}
		return fmt.Sprintf("Send the same document again with `%s %s`; it counts once.", command, path), nil
	}
}

// signedDocument reads a document that was kept, or signed elsewhere.
func signedDocument(data []byte, path, payloadType string) (seal.Envelope, error) {
	var env seal.Envelope
	if err := json.Unmarshal(data, &env); err != nil {
		return env, fmt.Errorf("%s holds no signed document: %w", path, err)
	}
	if env.PayloadType != payloadType {
		return env, fmt.Errorf("%s holds a %q, not a %q", path, env.PayloadType, payloadType)
	}
	return env, nil
}

// Answers what Kyverno's admission controller says with its own packages: a question is a line of JSON on stdin, its
// answer a line on stdout. A question is a pattern and an object (`pass`, `skip`, `fail`, or `error` where the pattern
// cannot be applied), or a pod with what `validate.podSecurity` holds (`pass` or `fail`).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	"github.com/kyverno/kyverno/pkg/engine/validate"
	"github.com/kyverno/kyverno/pkg/pss"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

type question struct {
	Pattern     *apiextensionsv1.JSON  `json:"pattern"`
	PodSecurity *kyvernov1.PodSecurity `json:"podSecurity"`
	Object      json.RawMessage        `json:"object"`
}

func answer(asked question) (string, error) {
	if asked.PodSecurity != nil {
		return podSecurity(asked)
	}
	return pattern(asked)
}

// podSecurity evaluates as pkg/engine/handlers/validation/validate_pss.go does for a rule without exceptions.
func podSecurity(asked question) (string, error) {
	var pod corev1.Pod
	if err := json.Unmarshal(asked.Object, &pod); err != nil {
		return "", fmt.Errorf("%w in %s", err, asked.Object)
	}
	level, err := pss.ParseVersion(asked.PodSecurity.Level, asked.PodSecurity.Version)
	if err != nil {
		return "", err
	}
	if allowed, _ := pss.EvaluatePod(level, asked.PodSecurity.Exclude, &pod); !allowed {
		return "fail", nil
	}
	return "pass", nil
}

// pattern tells apart what pkg/engine/handlers/validation/validate_resource.go tells apart.
func pattern(asked question) (string, error) {
	var object any
	if err := utiljson.Unmarshal(asked.Object, &object); err != nil {
		return "", fmt.Errorf("%w in %s", err, asked.Object)
	}
	err := validate.MatchPattern(logr.Discard(), object, kyvernov1.FromJSON(asked.Pattern))
	if err == nil {
		return "pass", nil
	}
	var wrong *validate.PatternError
	switch {
	case !errors.As(err, &wrong):
		return "", err
	case wrong.Skip:
		return "skip", nil
	case wrong.Path == "":
		return "error", nil
	}
	return "fail", nil
}

func run(in io.Reader, out io.Writer) error {
	decoder, buffered := json.NewDecoder(bufio.NewReader(in)), bufio.NewWriter(out)
	decoder.DisallowUnknownFields()
	for {
		var asked question
		if err := decoder.Decode(&asked); errors.Is(err, io.EOF) {
			return buffered.Flush()
		} else if err != nil {
			return err
		}
		said, err := answer(asked)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(buffered, said); err != nil {
			return err
		}
	}
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

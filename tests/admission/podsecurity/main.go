// Answers what Pod Security forbids in a pod with the checks of the API server itself: a question is a line of JSON on
// stdin (a pod, levels and versions), its answer a line on stdout: by level and version, the ids of the checks that
// forbid the pod, in the order in which the server names them. An empty list is an allowed pod.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type question struct {
	Pod      json.RawMessage `json:"pod"`
	Levels   []string        `json:"levels"`
	Versions []string        `json:"versions"`
}

// named gives the server's checks, each of which tells its id as the reason: the choice of variants and overrides
// stays the library's own, and a result alone does not say which check it is of.
func named() []policy.Check {
	checks := policy.DefaultChecks()
	for _, check := range checks {
		for i := range check.Versions {
			original := check.Versions[i].CheckPod
			check.Versions[i].CheckPod = func(meta *metav1.ObjectMeta, spec *corev1.PodSpec) policy.CheckResult {
				result := original(meta, spec)
				result.ForbiddenReason = string(check.ID)
				return result
			}
		}
	}
	return checks
}

func answer(evaluator policy.Evaluator, asked question) ([][][]string, error) {
	var pod corev1.Pod
	if err := utiljson.Unmarshal(asked.Pod, &pod); err != nil { // as the server decodes: fields are case-sensitive
		return nil, fmt.Errorf("%w in %s", err, asked.Pod)
	}
	found := make([][][]string, 0, len(asked.Levels))
	for _, text := range asked.Levels {
		level, err := api.ParseLevel(text)
		if err != nil {
			return nil, err
		}
		byVersion := make([][]string, 0, len(asked.Versions))
		for _, text := range asked.Versions {
			version, err := api.ParseVersion(text)
			if err != nil {
				return nil, err
			}
			results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: version}, &pod.ObjectMeta, &pod.Spec)
			byVersion = append(byVersion, append([]string{}, policy.AggregateCheckResults(results).ForbiddenReasons...))
		}
		found = append(found, byVersion)
	}
	return found, nil
}

func run(in io.Reader, out io.Writer) error {
	evaluator, err := policy.NewEvaluator(named(), nil)
	if err != nil {
		return err
	}
	decoder, buffered := json.NewDecoder(bufio.NewReader(in)), bufio.NewWriter(out)
	decoder.DisallowUnknownFields()
	encoder := json.NewEncoder(buffered)
	for {
		var asked question
		if err := decoder.Decode(&asked); errors.Is(err, io.EOF) {
			return buffered.Flush()
		} else if err != nil {
			return err
		}
		found, err := answer(evaluator, asked)
		if err != nil {
			return err
		}
		if err := encoder.Encode(found); err != nil {
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

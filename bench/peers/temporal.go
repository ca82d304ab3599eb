// A worker and a client of the Temporal development server: performs a graph of commands as one workflow.
//
//	worker ADDRESS POLLERS graph FILE           prints the seconds that the workflow took
//	worker ADDRESS POLLERS trigger COUNT STAMP  prints, for each start of a workflow with one activity, the milliseconds
//	                                            from the answer to the first instruction of the process
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

type silent struct{}

func (silent) Debug(string, ...interface{}) {}
func (silent) Info(string, ...interface{})  {}
func (silent) Warn(string, ...interface{})  {}
func (silent) Error(m string, v ...interface{}) { log.Println(append([]interface{}{m}, v...)...) }

var _ sdklog.Logger = silent{}

type stage struct {
	Needs   []int
	Command []string
}

func run(_ context.Context, command []string) (string, error) {
	out, err := exec.Command(command[0], command[1:]...).Output()
	return string(out), err
}

func graph(ctx workflow.Context, stages []stage) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	open := make([]int, len(stages))
	dependents := make([][]int, len(stages))
	left := len(stages)
	var failed error
	selector := workflow.NewSelector(ctx)
	var start func(i int)
	start = func(i int) {
		selector.AddFuture(workflow.ExecuteActivity(ctx, "run", stages[i].Command), func(f workflow.Future) {
			left--
			if err := f.Get(ctx, nil); err != nil {
				failed = err
			}
			for _, d := range dependents[i] {
				if open[d]--; open[d] == 0 {
					start(d)
				}
			}
		})
	}
	for i, s := range stages {
		open[i] = len(s.Needs)
		for _, need := range s.Needs {
			dependents[need] = append(dependents[need], i)
		}
	}
	for i := range stages {
		if len(stages[i].Needs) == 0 {
			start(i)
		}
	}
	for left > 0 && failed == nil {
		selector.Select(ctx)
	}
	return failed
}

func single(ctx workflow.Context, command []string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var out string
	err := workflow.ExecuteActivity(ctx, "run", command).Get(ctx, &out)
	return out, err
}

func check(err error) {
	if err != nil {
		log.Fatalln(err)
	}
}

func main() {
	if len(os.Args) < 5 {
		log.Fatalln("usage: worker ADDRESS POLLERS graph FILE | trigger COUNT STAMP")
	}
	pollers, err := strconv.Atoi(os.Args[2])
	check(err)
	c, err := client.Dial(client.Options{HostPort: os.Args[1], Logger: silent{}})
	check(err)
	defer c.Close()
	options := worker.Options{MaxConcurrentActivityExecutionSize: 16}
	if pollers > 0 {
		options.MaxConcurrentActivityTaskPollers = pollers
		options.MaxConcurrentWorkflowTaskPollers = pollers
	}
	w := worker.New(c, "bench", options)
	w.RegisterWorkflowWithOptions(graph, workflow.RegisterOptions{Name: "graph"})
	w.RegisterWorkflowWithOptions(single, workflow.RegisterOptions{Name: "single"})
	w.RegisterActivityWithOptions(run, activity.RegisterOptions{Name: "run"})
	check(w.Start())
	defer w.Stop()
	start := client.StartWorkflowOptions{TaskQueue: "bench"}
	ctx := context.Background()
	warm, err := c.ExecuteWorkflow(ctx, start, "single", []string{"/bin/true"})
	check(err)
	check(warm.Get(ctx, nil))
	if os.Args[3] == "graph" {
		text, err := os.ReadFile(os.Args[4])
		check(err)
		var stages []stage
		check(json.Unmarshal(text, &stages))
		began := time.Now()
		one, err := c.ExecuteWorkflow(ctx, start, "graph", stages)
		check(err)
		check(one.Get(ctx, nil))
		fmt.Println(time.Since(began).Seconds())
		return
	}
	count, err := strconv.Atoi(os.Args[4])
	check(err)
	for i := 0; i < count; i++ {
		one, err := c.ExecuteWorkflow(ctx, start, "single", []string{os.Args[5]})
		acknowledged := time.Now().UnixNano()
		check(err)
		var out string
		check(one.Get(ctx, &out))
		began, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		check(err)
		fmt.Println(float64(began-acknowledged) / 1e6)
		time.Sleep(100 * time.Millisecond)
	}
}

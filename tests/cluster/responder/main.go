// One small program for the cluster tests, in an image from scratch. By its first argument it is
//
//	(none of these)  a model's server: answers its release (TIDEGATE_RELEASE), health, and requests in flight for Prometheus
//	gates            a gate service whose verdicts the test sets: POST /verdicts/GATE/MODE; it answers Prometheus' instant queries
//	get URL [SECONDS AFTER]
//	                 a client: prints the body once the server answers, for at most a minute; AFTER: seconds that it waits before
//	load URL SECONDS [RATE BODY]
//	                 a client that counts what it sent, what was answered by which release in each second, and what was lost;
//	                 8 workers, each of which asks again 50 ms after it was answered; or RATE requests a second at random, each
//	                 a POST of BODY; with RATE 0, 8 workers that POST it again as soon as they are answered; with RATE -1, 50 ms after
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const patience = 10 // seconds that the load waits for an answer

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "gates":
		serve("8080", gates())
	case "get":
		limit := time.Minute
		if len(os.Args) > 4 {
			seconds, _ := strconv.Atoi(os.Args[3])
			after, _ := strconv.Atoi(os.Args[4])
			limit = time.Duration(seconds) * time.Second
			time.Sleep(time.Duration(after) * time.Second)
		}
		fmt.Println(get(os.Args[2], limit))
	case "load":
		seconds, _ := strconv.Atoi(os.Args[3])
		rate, body := 0.0, ""
		if len(os.Args) > 5 {
			rate, _ = strconv.ParseFloat(os.Args[4], 64)
			body = os.Args[5]
		}
		load(os.Args[2], time.Duration(seconds)*time.Second, rate, body)
	default:
		port := "8080"
		for _, argument := range os.Args[1:] {
			if value, found := strings.CutPrefix(argument, "--port="); found {
				port = value
			}
		}
		serve(port, model())
	}
}

// serve answers until SIGTERM, then finishes the requests that it has.
func serve(port string, handler http.Handler) {
	server := &http.Server{Addr: ":" + port, Handler: handler}
	stopped := make(chan struct{})
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		<-signals
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = server.Shutdown(limit)
		close(stopped)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-stopped
}

func model() http.Handler {
	var inFlight atomic.Int64
	release := os.Getenv("TIDEGATE_RELEASE")
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ready": true, "live": true}`) }
	for _, path := range []string{"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"} {
		mux.HandleFunc(path, ok)
	}
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE tidegate_requests_in_flight gauge\ntidegate_requests_in_flight %d\n", inFlight.Load())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, request *http.Request) {
		inFlight.Add(1)
		defer inFlight.Add(-1)
		if wait, err := time.ParseDuration(request.URL.Query().Get("wait")); err == nil && wait < 10*time.Second {
			time.Sleep(wait)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"release": release})
	})
	return mux
}

func gates() http.Handler {
	var lock sync.Mutex
	modes := map[string]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ready": true}`) })
	mux.HandleFunc("POST /verdicts/{gate}/{mode}", func(w http.ResponseWriter, request *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		modes[request.PathValue("gate")] = request.PathValue("mode")
		fmt.Fprint(w, "{}")
	})
	mux.HandleFunc("/v1/models/{model}/releases/{release}/gates/{gate}/api/v1/query", func(w http.ResponseWriter, request *http.Request) {
		lock.Lock()
		mode := modes[request.PathValue("gate")]
		lock.Unlock()
		sample := func(value string) any { return map[string]any{"metric": map[string]string{}, "value": []any{0, value}} }
		samples := []any{}
		switch mode {
		case "", "PASS":
			samples = append(samples, sample("1"))
		case "FAIL":
			samples = append(samples, sample("0"))
		case "ERROR":
			samples = append(samples, sample("-1"))
		case "INCONCLUSIVE":
		case "NAN":
			samples = append(samples, sample("NaN"))
		case "INFINITE":
			samples = append(samples, sample("+Inf"))
		case "TWO":
			samples = append(samples, sample("1"), sample("1"))
		case "NO_DATA":
			fmt.Fprint(w, `{"status": "success"}`)
			return
		case "NOT_JSON":
			fmt.Fprint(w, "PASS")
			return
		case "ANOTHER_DOCUMENT":
			fmt.Fprint(w, `{"verdict": "PASS"}`)
			return
		case "EMPTY":
			return
		case "STATUS_500":
			w.WriteHeader(http.StatusInternalServerError)
		case "STATUS_404":
			w.WriteHeader(http.StatusNotFound)
		default:
			http.Error(w, "no such mode", http.StatusBadRequest)
			return
		}
		data := map[string]any{"resultType": "vector", "result": samples}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	})
	return mux
}

// get is the body once the server answers 200; a Service's address is refused until every kube-proxy knows it.
func get(url string, limit time.Duration) string {
	client := &http.Client{Timeout: 2 * time.Second}
	var last error
	for begun := time.Now(); time.Since(begun) < limit; time.Sleep(200 * time.Millisecond) {
		answer, err := client.Get(url)
		if err != nil {
			last = err
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err == nil && answer.StatusCode == http.StatusOK {
			return string(body)
		}
		last = fmt.Errorf("status %d", answer.StatusCode)
	}
	fmt.Fprintln(os.Stderr, last)
	os.Exit(1)
	return ""
}

// load counts every request once, from the moment that the address answers at all (/started answers then, too), until /stop is
// asked for or the time is over.
// Its workers keep their connections alive, and send some 50 requests a second each.
func load(url string, duration time.Duration, rate float64, body string) {
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(200 * time.Millisecond) {
		if _, problem := ask(http.DefaultClient, url, body); problem == "" {
			break
		}
	}
	stopping, stop := context.WithTimeout(context.Background(), duration)
	defer stop()
	http.HandleFunc("/started", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") })
	http.HandleFunc("/stop", func(http.ResponseWriter, *http.Request) { stop() })
	go func() { _ = http.ListenAndServe(":8080", nil) }()
	var lock sync.Mutex
	sent, lost, errors := 0, 0, map[string]int{}
	var workers sync.WaitGroup
	begun := time.Now()
	releases := make([]map[string]int, int(duration.Seconds())+patience+1)
	for i := range releases {
		releases[i] = map[string]int{}
	}
	once := func(client *http.Client) {
		release, problem := ask(client, url, body)
		lock.Lock()
		defer lock.Unlock()
		sent++
		if problem == "" {
			releases[int(time.Since(begun).Seconds())][release]++
		} else {
			lost++
			errors[problem]++
		}
	}
	if rate > 0 {
		client := &http.Client{Timeout: patience * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
		for stopping.Err() == nil {
			workers.Go(func() { once(client) })
			time.Sleep(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
		}
	} else {
		pause := 50 * time.Millisecond
		if body != "" && rate == 0 {
			pause = 0
		}
		for range 8 {
			workers.Go(func() {
				client := &http.Client{Timeout: patience * time.Second, Transport: &http.Transport{}}
				for stopping.Err() == nil {
					once(client)
					time.Sleep(pause)
				}
			})
		}
	}
	workers.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"sent": sent, "lost": lost, "releases": releases, "errors": errors})
}

func ask(client *http.Client, url, body string) (release, problem string) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", err.Error()
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err.Error()
	}
	defer answer.Body.Close()
	var found struct{ Release string }
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		return "", err.Error()
	}
	if answer.StatusCode != http.StatusOK {
		return "", answer.Status
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	return found.Release, ""
}

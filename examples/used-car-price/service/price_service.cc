// The price service: answers HTTP requests with the price estimates of a model.json written by
// src/train.py.
//
//   price-service --port 8080 [--model model.json]
//
//   GET  /healthz      {"status": "ok", "model": …}: it is up and the model is loaded.
//   POST /v1/estimate  {"brand": "volkswagen", "model": "golf", "year": 2009, "mileage": 90000, …}
//   -> {"price": 6420.5, …}
//
// Loopback only: whatever publishes it to the world (TLS, limits, log-in) stands in front of it.

#include <fcntl.h>
#include <httplib.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

using nlohmann::json;

namespace {

// What is wrong with a request: the sentence goes to the client, with the field's name beside it
// for its form.
struct BadInput : std::runtime_error {
  BadInput(std::string field_name, const std::string& what)
      : std::runtime_error(field_name + ": " + what), field(std::move(field_name)) {}
  std::string field;
};

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string Sha256(const std::string& bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    char byte[3];
    std::snprintf(byte, sizeof byte, "%02x", digest[i]);
    hex += byte;
  }
  return hex;
}

// The model, read once and never changed: safe to use from all threads.
class Model {
 public:
  explicit Model(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    if (!file || text.empty()) throw std::runtime_error("cannot read the model file " + path);
    digest_ = Sha256(text);

    const json model = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!model.is_object() || model.value("format", 0) != 1)
      throw std::runtime_error(path + ": not a model of format 1");
    as_of_ = model.at("as_of");
    base_ = model.at("base");
    missing_ = model.at("missing");
    numbers_ = model.at("numbers").get<std::vector<std::string>>();
    for (const json& category : model.at("categories")) {
      categories_.push_back({category.at("name"), category.at("default"), category.at("values")});
    }
    for (const json& tree : model.at("trees")) AddTree(tree);
  }

  // `car` has the columns of clean.csv. The same arithmetic in the same order as in training,
  // because the contract gate holds the two to nine digits: features are rounded to float before
  // they are compared, leaves are added in the trees' order.
  double Price(const json& car) const {
    std::vector<double> features;
    for (const std::string& name : numbers_) {
      features.push_back(car.at(name).is_null() ? missing_
                                                : static_cast<float>(car.at(name).get<double>()));
    }
    for (const Category& category : categories_) {
      const auto known = category.values.find(car.at(category.name).get<std::string>());
      features.push_back(
          static_cast<float>(known == category.values.end() ? category.otherwise : known->second));
    }
    double log_price = base_;
    for (const int root : roots_) {
      const Node* node = &nodes_[root];
      while (node->left >= 0)
        node = &nodes_[features[node->feature] <= node->threshold ? node->left : node->right];
      log_price += node->value;
    }
    return std::exp(log_price);
  }

  int as_of() const { return as_of_; }  // The year whose prices it learned.
  const std::string& digest() const { return digest_; }

 private:
  struct Category {
    std::string name;
    double otherwise;  // Stands for every value that training did not see.
    std::unordered_map<std::string, double> values;
  };
  struct Node {
    int feature, left, right;  // No left child: a leaf.
    double threshold, value;
  };

  // Checks what Price relies on, so that a damaged file is refused here and not read out of bounds
  // there. Children stand behind their parent: a walk always ends.
  void AddTree(const json& tree) {
    const int root = static_cast<int>(nodes_.size()),
              size = static_cast<int>(tree.at("feature").size());
    const int features = static_cast<int>(numbers_.size() + categories_.size());
    for (int i = 0; i < size; ++i) {
      const int feature = tree.at("feature").at(i), left = tree.at("left").at(i),
                right = tree.at("right").at(i);
      const bool is_leaf = left < 0;
      if (!is_leaf && (feature < 0 || feature >= features || left <= i || left >= size ||
                       right <= i || right >= size)) {
        throw std::runtime_error("the model file has a tree that leads nowhere");
      }
      nodes_.push_back({feature, is_leaf ? -1 : root + left, is_leaf ? -1 : root + right,
                        tree.at("threshold").at(i), tree.at("value").at(i)});
    }
    if (size == 0) throw std::runtime_error("the model file has an empty tree");
    roots_.push_back(root);
  }

  std::string digest_;
  int as_of_ = 0;
  double base_ = 0, missing_ = 0;
  std::vector<std::string> numbers_;
  std::vector<Category> categories_;
  std::vector<int> roots_;
  std::vector<Node> nodes_;  // Of all trees, one after the other.
};

// Reads a request field by field and insists on each: a typing error must not become a price.
class Request {
 public:
  explicit Request(const std::string& body)
      : json_(json::parse(body, nullptr, /*allow_exceptions=*/false)) {
    if (!json_.is_object()) throw BadInput("body", "a JSON object is needed");
  }

  json Number(const char* name, int min, int max) {
    const json value = Take(name);
    if (value.is_null()) throw BadInput(name, "is needed");
    return Checked(name, value, min, max);
  }
  json NumberOr(const char* name, json otherwise, int min, int max) {
    const json value = Take(name);
    return value.is_null() ? otherwise : Checked(name, value, min, max);
  }
  std::string Text(const char* name) {
    const json value = Take(name);
    if (!value.is_string() || value == "") throw BadInput(name, "a text is needed");
    return value;
  }
  std::string TextOrUnknown(const char* name) {
    const json value = Take(name);
    if (value.is_null()) return "unknown";
    if (!value.is_string()) throw BadInput(name, "is not a text");
    return value;
  }
  void NothingLeft() const {
    if (!json_.empty()) throw BadInput(json_.begin().key(), "no such field");
  }

 private:
  // null and absent are one thing.
  json Take(const char* name) {
    json value = json_.contains(name) ? json_[name] : json();
    json_.erase(name);
    return value;
  }
  static json Checked(const char* name, const json& value, int min, int max) {
    if (!value.is_number_integer() || value < min || value > max) {
      throw BadInput(name, "a whole number from " + std::to_string(min) + " to " +
                               std::to_string(max) + " is needed");
    }
    return value;
  }

  json json_;
};

// A request as a row of clean.csv, in the words of src/clean.py.
json Car(const std::string& body, int as_of) {
  Request request(body);
  json car;
  car["brand"] = request.Text("brand");
  car["model"] = request.Text("model");
  car["car_model"] = car["brand"].get<std::string>() + " " + car["model"].get<std::string>();
  // Age counts to the prices that the model knows, not to today: old prices do not fall by waiting.
  const int listed = request.NumberOr("listed", as_of, 1990, 2100);
  car["age"] = listed - request.Number("year", listed - 100, listed).get<int>();
  car["mileage"] = request.Number("mileage", 0, 2'000'000);
  car["power"] = request.NumberOr("power", nullptr, 1, 3'000);
  for (const char* name : {"vehicle_type", "gearbox", "fuel", "damaged"})
    car[name] = request.TextOrUnknown(name);
  request.NothingLeft();
  return car;
}

std::string RequestId() {
  thread_local std::mt19937_64 random{(std::uint64_t{std::random_device{}()} << 32) |
                                      std::random_device{}()};
  char id[17];
  std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(random()));
  return id;
}

// Every answer, for whoever watches the model. One write a line to a file opened for appending:
// lines of several threads never mix, and nothing is lost in a buffer when the process dies.
class PredictionLog {
 public:
  explicit PredictionLog(const std::string& path) {
    if (path.empty()) return;
    file_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file_ < 0) throw std::runtime_error("cannot open the predictions file " + path);
  }
  void Append(const std::string& request_id, const json& car, double price) const {
    if (file_ < 0) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const json line = {
        {"key", request_id},
        {"at_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now).count()},
        {"input", car},
        {"prediction", price}};
    const std::string bytes = line.dump() + "\n";
    // A full disk must not cost the customer the price.
    if (write(file_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      std::perror("price-service: a prediction was not recorded");
    }
  }

 private:
  int file_ = -1;
};

void Answer(httplib::Response& response, int status, const json& body) {
  response.status = status;
  response.set_content(body.dump() + "\n", "application/json");
}

void AddEndpoints(httplib::Server& server, const Model& model, const PredictionLog& predictions) {
  json identity = {{"model", model.digest()}};
  if (const std::string digest = Environment("CD4ML_MODEL_DIGEST"); !digest.empty())
    identity["model"] = digest;
  if (const std::string name = Environment("CD4ML_DEPLOYMENT"); !name.empty())
    identity["deployment"] = name;

  server.Get("/healthz", [identity](const httplib::Request&, httplib::Response& response) {
    json body = identity;
    body["status"] = "ok";
    Answer(response, 200, body);
  });
  server.Post("/v1/estimate", [identity, &model, &predictions](const httplib::Request& request,
                                                               httplib::Response& response) {
    try {
      const json car = Car(request.body, model.as_of());
      json body = identity;
      body["request_id"] = RequestId();
      body["price"] = model.Price(car);  // All digits: rounding is for whoever shows it.
      predictions.Append(body["request_id"], car, body["price"]);
      Answer(response, 200, body);
    } catch (const BadInput& bad) {
      Answer(response, 400, {{"error", bad.what()}, {"field", bad.field}});
    }
  });
  server.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty()) return;
    Answer(response, response.status,
           {{"error", response.status == 404 ? "no such page" : "not a request for this service"}});
  });
}

void Configure(httplib::Server& server) {
  // A connection keeps its thread while it is open.
  server.new_task_queue = [] { return new httplib::ThreadPool(16); };
  server.set_tcp_nodelay(true);
  server.set_keep_alive_max_count(1'000'000);
  server.set_keep_alive_timeout(2);  // Seconds; also how long an idle connection can delay the end.
  server.set_payload_max_length(64 * 1024);
  // The library would share the port with another process that listens on it; two models behind one
  // port is what must not be.
  server.set_socket_options([](int socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
}

// Returns when the service was told to stop and has answered what it had accepted.
void Serve(const Model& model, int port) {
  const PredictionLog predictions(Environment("CD4ML_PREDICTIONS"));
  httplib::Server server;
  Configure(server);
  AddEndpoints(server, model, predictions);

  // Blocked in all threads and waited for in one: a signal handler could not stop the server
  // safely.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  if (!server.bind_to_port("127.0.0.1", port)) {
    throw std::runtime_error("cannot listen on port " + std::to_string(port));
  }
  std::thread stopper([&] {
    int signal = 0;
    sigwait(&stop_signals, &signal);
    if (!server.is_running()) std::_Exit(0);  // Nothing was accepted yet.
    server.stop();
  });
  std::fprintf(stderr, "price-service: model=%s port=%d\n", model.digest().c_str(), port);
  server.listen_after_bind();
  pthread_kill(stopper.native_handle(),
               SIGTERM);  // Should the server have ended for another reason.
  stopper.join();
}

}  // namespace

int main(int argc, char** argv) {
  std::string model = "model.json";
  int port = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--port") port = std::atoi(argv[i + 1]);
    if (option == "--model") model = argv[i + 1];
  }
  if (argc % 2 == 0 || port < 1 || port > 65535) {
    std::fprintf(stderr, "usage: price-service --port N [--model FILE]\n");
    return 2;
  }
  try {
    Serve(Model(model), port);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "price-service: %s\n", error.what());
    return 1;
  }
  return 0;
}

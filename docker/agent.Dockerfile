# An agent with what the example's stages need. Build from the top: docker build -f docker/agent.Dockerfile -t cd4ml-agent .
FROM debian:bookworm-slim AS build
COPY . /src
RUN apt-get update && /src/scripts/setup && cmake -S /src -B /build -G Ninja -DCD4ML_BUILD_TESTS=OFF \
 && ninja -C /build cd4ml-agent cd4ml-keeper cd4ml

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgrpc++1.51 libyaml-cpp0.7 libspdlog1.10 libgit2-1.5 \
    libcurl4 libarchive13 libssl3 git python3-sklearn python3-pandas python3-yaml g++ make libcpp-httplib-dev \
    nlohmann-json3-dev && rm -rf /var/lib/apt/lists/* && useradd --create-home cd4ml && install -d -o cd4ml /var/lib/cd4ml
COPY --from=build /build/bin/cd4ml-agent /build/bin/cd4ml-keeper /build/bin/cd4ml /usr/bin/
COPY --from=build /src/.third_party/duckdb /opt/duckdb
RUN ln -s /opt/duckdb/*/libduckdb.so /usr/lib/libduckdb.so && ldconfig
USER cd4ml
VOLUME /var/lib/cd4ml
ENTRYPOINT ["cd4ml-agent", "--state", "/var/lib/cd4ml", "--duckdb", "/usr/lib/libduckdb.so"]

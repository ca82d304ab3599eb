# The daemon alone. Build from the top of the checkout: docker build -f docker/daemon.Dockerfile -t cd4ml-daemon .
FROM debian:bookworm-slim AS build
COPY . /src
RUN apt-get update && /src/scripts/setup && cmake -S /src -B /build -G Ninja -DCD4ML_BUILD_TESTS=OFF \
 && ninja -C /build cd4mld cd4ml

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgrpc++1.51 libyaml-cpp0.7 libsqlite3-0 libspdlog1.10 \
    libgit2-1.5 libssl3 git && rm -rf /var/lib/apt/lists/* && useradd --create-home cd4ml && install -d -o cd4ml /var/lib/cd4ml
COPY --from=build /build/bin/cd4mld /build/bin/cd4ml /usr/bin/
USER cd4ml
VOLUME /var/lib/cd4ml
ENTRYPOINT ["cd4mld", "--state", "/var/lib/cd4ml"]

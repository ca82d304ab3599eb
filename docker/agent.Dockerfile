# An agent with what the stages of the example need, and the example itself. scripts/docker-demo gathers the context and builds.
ARG BASE=debian:bookworm-slim
FROM $BASE
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libarchive13 libcurl4 libgit2-1.5 libgrpc++1.51 libspdlog1.10 libssl3 libtomlplusplus3 libyaml-cpp0.7 \
      ccache g++ git libcpp-httplib-dev make nlohmann-json3-dev python3-pandas python3-sklearn python3-venv python3-yaml \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
 && useradd --uid 7420 --create-home cd4ml && install -d -o cd4ml /var/lib/cd4ml /srv/cd4ml
COPY examples /opt/cd4ml/examples
COPY bin/cd4ml-agent bin/cd4ml-keeper bin/cd4ml bin/libduckdb.so demo.py /opt/cd4ml/bin/
ENV PATH=/opt/cd4ml/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER cd4ml
ENTRYPOINT ["cd4ml-agent", "--state", "/var/lib/cd4ml"]

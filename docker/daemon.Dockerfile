# The daemon: its programs and their libraries. scripts/docker-demo gathers the context and builds.
ARG BASE=debian:bookworm-slim
FROM $BASE
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libgit2-1.5 libgrpc++1.51 libspdlog1.10 libsqlite3-0 libssl3 libtomlplusplus3 libyaml-cpp0.7 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
 && useradd --uid 7420 --create-home cd4ml && install -d -o cd4ml /var/lib/cd4ml /srv/cd4ml
COPY bin/cd4mld bin/cd4ml /opt/cd4ml/bin/
ENV PATH=/opt/cd4ml/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER cd4ml
ENTRYPOINT ["cd4mld", "--state", "/var/lib/cd4ml"]

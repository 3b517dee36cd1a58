# syntax=docker/dockerfile:1
# An image that fetches and verifies its models when a container starts, into volumes that the next container has again:
#   docker build -f at-start.Dockerfile -t models .
#   docker run --read-only -v state:/var/lib/model-provisioner -v store:/srv/store -v handoffs:/srv/handoffs models
# With the volume of the state, models are not read again by a container that is started anew. One container at a time.

# Your engine's image, with Python 3.11 or newer, in place of this one.
FROM python:3.13-slim
RUN pip install --no-cache-dir "model-provisioner[hf]==0.2.0"
# Others may neither read nor write the state folder.
RUN useradd --system --uid 10001 --no-create-home models \
    && install -d -o models -m 0700 /var/lib/model-provisioner \
    && install -d -o models /srv/store /srv/handoffs
ENV MODEL_PROVISIONER_STATE_DIR=/var/lib/model-provisioner \
    MODEL_PROVISIONER_CACHE_DIR=/srv/store \
    MODEL_PROVISIONER_RUNTIME_DIR=/srv/handoffs \
    MODEL_HANDOFF=/srv/handoffs/engines/llamacpp.json
VOLUME ["/var/lib/model-provisioner", "/srv/store", "/srv/handoffs"]
WORKDIR /srv/models
COPY models.yaml models.lock ./
COPY --chmod=0755 serve /usr/local/bin/serve
USER models
ENTRYPOINT ["sh", "-c", "model-provisioner provision --locked && exec serve \"$@\"", "start"]
CMD ["llama-server", "--port", "8080"]

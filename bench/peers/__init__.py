"""The peers, in the order in which they are installed and shown: the cheapest first."""
from peers.airflow import Airflow
from peers.dagster import Dagster
from peers.luigi import Luigi
from peers.make import Make
from peers.ninja import Ninja
from peers.prefect import Prefect
from peers.slurm import Slurm
from peers.snakemake import Snakemake
from peers.temporal import Temporal, TemporalTuned

ALL = [Make, Ninja, Snakemake, Luigi, Temporal, TemporalTuned, Prefect, Dagster, Airflow, Slurm]

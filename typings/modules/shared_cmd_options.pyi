# WebUI 1.10.1: modules/shared_cmd_options.py

from argparse import ArgumentParser

parser: ArgumentParser

"""Column names of a manifest.

A manifest is a CSV or Parquet file with one row per shown image. Training reads it, batch scoring
reads it, simulation and the example catalogue write it.
"""

PATH = "relative_im_path"  # the image's file, relative to the images folder
AUGMENTATION = "augmentation"  # the augmentation applied to the shown image
ORIGINAL_FILE = "original"  # the file that the shown image was made from
PRODUCT_TYPE = "product_type"
CAMPAIGN_TYPE, INDUSTRY = "campaign_type", "industry"
# A product type is a property of the image, which the backbone sees; --context adds it.
DEFAULT_CONTEXT = (CAMPAIGN_TYPE, INDUSTRY)

# Columns of a target: ``open_rate`` itself holds 0 or 1, or two columns hold counts.
SUCCESSES, TRIALS = "_successes", "_trials"
PROBABILITY = "_probability"  # the true probability, if the generating process is known

SPLIT, SHA256 = "split", "sha256"  # further columns of a run's catalogue.csv
